// Convolution of images with any kernel (Eq. 1, X' = K * X).
//
// Everything is correlation here: callers flip the kernel. Sums are float32, each product and each
// sum rounded, in the order of the taps: the same bits on every machine. Integer taps over integer
// samples are exact while Σ|tap| · top < 2^24.
#pragma once

#include <vector>

#include "fastsynth/common/parallel.hpp"
#include "fastsynth/compose/raster.hpp"

namespace fastsynth::compose {

/// column ⊗ row: one term of a kernel that is a sum of separable ones.
struct Separable {
    std::vector<float> column, row;
};

struct Filter {
    int height = 0, width = 0;       // of the kernel
    int anchor_y = 0, anchor_x = 0;  // the tap that meets the pixel itself
    std::vector<float> taps;         // (height, width), row by row; empty where `terms` are given
    std::vector<Separable> terms;
    float gain = 1.0f;        // what the sum is multiplied with
    float alpha_gain = 1.0f;  // the same for a premultiplied image's alpha: 1 / Σ taps
    float offset = 0.0f;      // added to the colours afterwards, in working units
    bool clip = true;         // cut floats to [0, 1]; integers always saturate
};

/// out[y, x] = gain Σ taps[i, j] in[y + i - anchor_y, x + j - anchor_x] + offset.
/// Both images have the same size, samples and channels, and do not overlap.
void convolve(const Raster& in, const MutableRaster& out, const Filter& filter,
              const Reading& reading, ThreadPool& pool);

/// Kernels on tiles of floats. `n` is rounded up to whole vectors (at most `slack` numbers more):
/// rows of input and output must have room.
struct ConvolveKernels {
    static constexpr int rows = 4;    // of output that one call makes
    static constexpr int slack = 64;  // numbers

    /// out[r, x] (+)= Σ_ij taps[i, j] in[r + i, x + j step] for x in [0, n).
    void (*dense)(const float* in, std::ptrdiff_t stride, const float* taps, int height, int width,
                  int step, float* out, std::ptrdiff_t out_stride, std::ptrdiff_t n, bool add);
    /// The same in 16-bit integers: the caller sees to it that no sum overflows.
    void (*dense16)(const std::int16_t* in, std::ptrdiff_t stride, const std::int16_t* taps,
                    int height, int width, int step, std::int16_t* out, std::ptrdiff_t out_stride,
                    std::ptrdiff_t n, bool add);
    /// The same for few taps: out[r, x] = Σ_t values[t] in[r stride + offsets[t] + x].
    void (*sparse)(const float* in, std::ptrdiff_t stride, const float* values,
                   const std::ptrdiff_t* offsets, int count, float* out, std::ptrdiff_t out_stride,
                   std::ptrdiff_t n);
};

const ConvolveKernels& convolve_kernels();

}  // namespace fastsynth::compose
