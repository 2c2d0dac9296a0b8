// A function to minimise: value and gradient with respect to a flat vector of floats (for images:
// planar RGB). Optimisers know no more than this.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace fastsynth {

class Objective {
  public:
    virtual ~Objective() = default;

    /// Number of variables.
    virtual std::size_t size() const = 0;

    /// Returns the value at x and writes the gradient. x and gradient hold size() floats.
    virtual double evaluate(const float* x, float* gradient) = 0;

    /// Names of the parts whose sum is the value, e.g. {"content/conv4_2", "style/conv1_1", ...}.
    virtual const std::vector<std::string>& names() const = 0;

    /// The parts at the last evaluate, weights included, in the order of names().
    virtual const std::vector<double>& values() const = 0;
};

}  // namespace fastsynth
