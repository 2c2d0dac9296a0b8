// The Laplacian pyramid (Burt & Adelson 1983) of a gradient, and its normalisation band by band.
//
//   x_0 = x,  x_{k+1} = down(x_k),  band_k = x_k - up(x_{k+1});  the last x_K is a band too
//
// down: the binomial [1 4 6 4 1] / 16 in both directions, every second sample. up: the same filter
// between the samples. At the borders filters are cut off and their weights made to sum to 1 again,
// so a constant stays constant. An odd size n becomes (n + 1) / 2.
#pragma once

#include <cstddef>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/parallel.hpp"

namespace fastsynth {

/// The family of kernels; single-threaded, for rows.
struct PyramidKernels {
    /// out[i] ← Σ_j weights[j] rows[j][i], for `count` rows of n values.
    void (*combine)(const float* const* rows, const float* weights, int count, std::size_t n,
                    float* out);
    /// The row of n values filtered and halved to (n + 1) / 2.
    void (*shrink)(const float* row, std::size_t n, float* out);
    /// out[i] ← a in[i] + b u[i], u: the row of (n + 1) / 2 values widened to n. in may be out.
    void (*widen_add)(const float* row, std::size_t n, float a, const float* in, float b,
                      float* out);
    /// x ← clamp(x - step g, low, high)
    void (*descend)(float step, const float* g, float low, float high, float* x, std::size_t n);
};

const PyramidKernels& pyramid_kernels();

/// Divides each band by its root mean square over all planes, so that coarse and fine structures
/// move alike, and adds the bands up again. Scratch memory is kept between calls.
class BandNormalizer {
  public:
    /// levels: bands besides the last; fewer where a side would fall under 2 samples.
    BandNormalizer(int planes, int height, int width, int levels);

    std::size_t size() const;
    int levels() const { return static_cast<int>(sizes_.size()) - 1; }

    /// In place, planes of (height, width). A band below 1e-5 of the whole, which is rounding, is
    /// divided by that much of the whole instead of by itself; zeros stay zeros.
    void apply(float* planes, ThreadPool& pool);

  private:
    struct Size {
        int height, width;
        std::size_t count(int planes) const {
            return static_cast<std::size_t>(planes) * static_cast<std::size_t>(height) *
                   static_cast<std::size_t>(width);
        }
    };
    void down(const float* fine, std::size_t level, float* coarse, ThreadPool& pool);
    /// fine ← a fine + b up(coarse)
    void add_up(const float* coarse, std::size_t level, float a, float b, float* fine,
                ThreadPool& pool);

    int planes_;
    std::vector<Size> sizes_;
    std::vector<Buffer<float>> coarse_;  // of levels 1 and on
};

}  // namespace fastsynth
