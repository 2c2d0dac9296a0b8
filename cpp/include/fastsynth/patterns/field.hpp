// Field: a colour at every point of the plane, and how a picture of it is painted.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastsynth/patterns/surface.hpp"

namespace fastsynth {

class Field {
  public:
    virtual ~Field() = default;

    /// Linear RGB (interleaved) of `n` points. Called by several threads at once.
    virtual void shade(const double* x, const double* y, std::size_t n, float* rgb) const = 0;
};

/// Where the picture lies in the plane: pixel (i, j) has its centre at
///   center + scale · R · ((i + ½ - W/2), -(j + ½ - H/2)),  R: a turn by `angle` (radians, y up).
struct View {
    double center_x = 0, center_y = 0;
    double scale = 1;
    double angle = 0;
};

/// One sample at each pixel's centre. With `antialias`, a pixel whose colour differs from a
/// neighbour's gets the mean of 3 × 3 samples instead: as good as sampling everywhere, for a
/// fraction of the work.
void paint_field(const Field& field, const View& view, bool antialias, const Surface& surface,
                 ThreadPool& pool);

}  // namespace fastsynth
