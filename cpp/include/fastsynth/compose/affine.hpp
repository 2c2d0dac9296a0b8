// Affine maps of images: rotated, scaled, sheared, moved.
//
// The source is read tile by tile into float pixels, borders resolved, and each output pixel is a
// weighted mean of its neighbourhood there. Weights are separable in the source's axes. When
// shrinking with antialiasing, the kernel widens in each axis by the map's scale along it.
//
// Border::constant lays the image on the constant: inside it ends as if its edge went on
// (replicate), and across the edge the two are mixed by the part of the kernel's width that lies
// inside, along x times along y. For bilinear interpolation without widening this is the same as
// interpolating with the constant; else it neither darkens nor rings along the edge.
#pragma once

#include <array>
#include <cstdint>

#include "fastsynth/common/parallel.hpp"
#include "fastsynth/compose/raster.hpp"

namespace fastsynth::compose {

enum class Interpolation { nearest, bilinear, bicubic, lanczos };

struct AffineSettings {
    /// Output to source: x = m[0] X + m[1] Y + m[2], y = m[3] X + m[4] Y + m[5], with pixel centres
    /// at whole numbers.
    std::array<double, 6> map{1, 0, 0, 0, 1, 0};
    Interpolation interpolation = Interpolation::bilinear;
    bool antialias = true;
    bool clip = true;  // cut floats to [0, 1]; integers always saturate
};

/// `in` and `out` have the same samples and channels, any sizes, and do not overlap.
void affine(const Raster& in, const MutableRaster& out, const AffineSettings& settings,
            const Reading& reading, ThreadPool& pool);

/// Weights of an interpolation by the fraction of a coordinate, tabulated; between the rows of the
/// table they are interpolated linearly.
struct WeightTable {
    static constexpr int phases = 1024;
    int taps = 0;                    // of one pixel's sum along this axis
    int stride = 0;                  // floats from one phase to the next
    const float* weights = nullptr;  // (phases + 2, stride)
};

/// Kernels on one row of output. Pixels have 4 floats, in the patch of the source and in `out`.
struct AffineKernels {
    /// Coordinates (x + i dx, y + i dy) >= 0 for i in [0, n): where floor(x), floor(y) lies in a
    /// patch of rows of `stride` floats, and the fractions.
    void (*locate)(double x, double y, double dx, double dy, int n, int stride,
                   std::int32_t* places, float* fraction_x, float* fraction_y);
    void (*nearest)(const float* patch, const std::int32_t* places, int n, float* out);
    void (*bilinear)(const float* patch, int stride, const std::int32_t* places,
                     const float* fraction_x, const float* fraction_y, int n, float* out);
    /// Any number of taps; places are those of the first tap. The table along x repeats each
    /// weight 4 times, for the floats of a pixel, and is padded with 0 to whole 16.
    void (*weighted)(const float* patch, int stride, const std::int32_t* places,
                     const float* fraction_x, const float* fraction_y, int n,
                     const WeightTable& along_x, const WeightTable& along_y, float* out);
    /// `pixels` of 1, 3 or 4 floats to 4 and back. May write 4 floats too far.
    void (*widen)(const float* in, int channels, float* out, std::int64_t pixels);
    void (*narrow)(const float* in, int channels, float* out, std::int64_t pixels);
};

const AffineKernels& affine_kernels();

}  // namespace fastsynth::compose
