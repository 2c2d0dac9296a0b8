// Terms: the summands of an image objective. A layer term looks at the features of one tapped layer, an image term at the
// pixels. Each holds its target, computed once, and yields its value and its gradient in one call.
//
// To add a term, derive from one of these, and bind it in bindings/bind_objective.cpp. A layer term that does not care
// about the layout of a FeatureMap uses to_planar / add_planar (network.hpp).
#pragma once

#include <cstddef>

#include "fastsynth/common/parallel.hpp"
#include "fastsynth/network/network.hpp"

namespace fastsynth {

class LayerTerm {
  public:
    virtual ~LayerTerm() = default;

    /// Throws std::invalid_argument unless the term's target fits features of this shape. Called once, when bound.
    virtual void check(const FeatureMap& feature) const = 0;

    /// Returns the value and adds weight * dValue/dFeature to `cotangent`.
    virtual double evaluate(const FeatureMap& feature, double weight, const FeatureMap& cotangent, ThreadPool& pool) = 0;
};

class ImageTerm {
  public:
    virtual ~ImageTerm() = default;

    /// Returns the value for a planar RGB image (3, height, width) and adds weight * dValue/dImage to `gradient`.
    virtual double evaluate(const float* image, int height, int width, double weight, float* gradient,
                            ThreadPool& pool) = 0;
};

}  // namespace fastsynth
