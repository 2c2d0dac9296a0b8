// The weights of a Winograd convolution. Two steps:
//   1. arrange   OIHW -> [pack of outputs][c][9][out_pack]: once per loaded weights, a permutation
//   2. transform U = G g Gᵀ, [c][9][out_pack] -> [ξ][c][out_pack] for one pack: before it is used
//
// U is n²/9 times as large as g (4 times for m = 4). It is made once and kept, or (NativeWeights
// decides) every task makes it anew, a row of points of one pack at a time, so that it never leaves
// L2. Step 2 is done in float32 (matrix entries rounded once from float64); the errors of many
// channels average out, and do not show in a layer's error (bench/native.py accuracy).
#pragma once

#include "microkernel.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

/// See ConvKernels::arrange.
inline void arrange_weights(const float* weights, int outputs, int inputs, bool backward, int pack,
                            float* arranged) {
    // The arranged convolution reads `from` channels and writes `to`; OIHW strides follow from the
    // direction.
    const int from = backward ? outputs : inputs, to = backward ? inputs : outputs;
    const std::size_t from_stride = backward ? std::size_t(inputs) * 9 : 9;
    const std::size_t to_stride = backward ? 9 : std::size_t(inputs) * 9;
    const int channels = (from + lanes - 1) / lanes * lanes;
    for (int first = 0; first < channels; first += lanes)  // blocks that stay in L1 while turned
        for (int lane = 0; lane < out_pack; ++lane) {
            const int o = pack * out_pack + lane;
            for (int c = first; c < first + lanes; ++c) {
                const bool exists = c < from && o < to;
                const float* kernel = weights + (exists ? c * from_stride + o * to_stride : 0);
                float* target = arranged + std::size_t(c) * 9 * out_pack + lane;
                for (int k = 0; k < 9; ++k)
                    target[k * out_pack] = exists ? kernel[backward ? 8 - k : k] : 0.0f;
            }
        }
}

/// G of winograd_points.hpp. Rows come in pairs: where row i is (k, k p, k p²), row i + 1 is
/// (k, -k p, k p²), because the product over all pairs is even.
template <int m>
struct KernelTransform {
    static constexpr int n = m + 2;
    float G[n][3] = {};

    constexpr KernelTransform() {
        for (int i = 0; i < n - 1; ++i) {
            const double p = WinogradPoints<m>::points[i];
            double product = 1.0;
            for (int j = 0; j < n - 1; ++j)
                if (j != i) product *= p - WinogradPoints<m>::points[j];
            G[i][0] = static_cast<float>(1.0 / product);
            G[i][1] = static_cast<float>(p / product);
            G[i][2] = static_cast<float>(p * p / product);
        }
        G[n - 1][2] = 1.0f;
    }

    /// r = G g, three values to n.
    FASTSYNTH_INLINE void apply(const Floats* g, Floats* r) const {
        r[0] = G[0][0] * g[0];
        FASTSYNTH_UNROLL for (int i = 1; i < n - 1; i += 2) {
            const Floats even = G[i][0] * g[0] + G[i][2] * g[2], odd = G[i][1] * g[1];
            r[i] = even + odd;
            r[i + 1] = even - odd;
        }
        r[n - 1] = g[2];
    }
};

/// G g Gᵀ of one input channel at the n points of one row, for a vector of output channels.
template <int m>
struct RowTransform {
    static constexpr int n = m + 2;
    static constexpr KernelTransform<m> transform{};
    Floats a, b, c;

    explicit RowTransform(int row)
        : a(broadcast(transform.G[row][0])),
          b(broadcast(transform.G[row][1])),
          c(broadcast(transform.G[row][2])) {}

    /// g: [9], out_pack apart.
    FASTSYNTH_INLINE void apply(const float* g, Floats* r) const {
        Floats line[3];
        FASTSYNTH_UNROLL for (int x = 0; x < 3; ++x) line[x] = a * load(g + x * out_pack) +
                                                               b * load(g + (3 + x) * out_pack) +
                                                               c * load(g + (6 + x) * out_pack);
        transform.apply(line, r);
    }
};

/// U of one pack at the n points of one row, for `channels` input channels; `stride` words from
/// one point to the next. Row by row, because a row of 512 channels fits in L2 and all of U does
/// not.
template <int m, class Products>
__attribute__((noinline)) void transform_weights(const float* arranged, int channels, int row,
                                                 float* U, std::size_t stride) {
    constexpr int n = m + 2;
    const RowTransform<m> transform(row);
    constexpr int together = lanes / Products::words;  // channels in a word
    constexpr int step = 9 * out_pack;                 // from channel to channel
    const int rows = channels / together;
    for (int i = 0; i < rows; ++i) {
        const float* source = arranged + Products::channel(i, channels) * step;
        FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) {
            Floats r[together][n];
            FASTSYNTH_UNROLL for (int c = 0; c < together; ++c)
                transform.apply(source + c * step + j * lanes, r[c]);
            FASTSYNTH_UNROLL for (int k = 0; k < n; ++k) {
                float* target = U + k * stride + i * out_pack + j * lanes;
                if constexpr (together == 1) {
                    store(target, r[0][k]);
                } else {
                    Products::put_weights(target, r[0][k], r[1][k]);
                }
            }
        }
    }
    if constexpr (Products::is_paired)
        for (int k = 0; k < n; ++k) Products::finish_weights(U + k * stride, channels);
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
