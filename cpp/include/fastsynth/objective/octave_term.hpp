// Octaves of a Gaussian pyramid, and the term that shows them to an objective (Snelgrove 2017).
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/objective/objective.hpp"
#include "fastsynth/objective/term.hpp"

namespace fastsynth {

/// Rows or columns of the next octave.
inline int octave_size(int size) { return (size + 1) / 2; }

/// Every second pixel of a plane under the filter (1, 5, 8, 5, 1) / 20 along rows and columns (Burt
/// & Adelson 1983, a = 0.4), the borders continued by reflection about their last pixels.
/// (height, width) to (octave_size(height), octave_size(width)).
void reduce_octave(const float* plane, int height, int width, float* reduced);

/// The adjoint: adds to `plane` (height, width) the gradient of what depends on it through
/// `reduced`.
void expand_octave(const float* reduced, int height, int width, float* plane);

/// Shows an objective the image reduced by a number of octaves. The objective holds the networks
/// for that size; its value is the term's.
class OctaveTerm final : public ImageTerm {
  public:
    OctaveTerm(std::shared_ptr<Objective> inner, int octaves);

    double evaluate(const float* image, int height, int width, double weight, float* gradient,
                    ThreadPool& pool) override;

  private:
    std::shared_ptr<Objective> inner_;
    int octaves_;
    std::vector<Buffer<float>> images_, slopes_;
};

}  // namespace fastsynth
