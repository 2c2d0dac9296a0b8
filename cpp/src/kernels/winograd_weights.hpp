// The weights of a Winograd convolution. Two steps:
//   1. arrange   OIHW -> [pack of outputs][c][9][out_pack]: once per loaded weights, a permutation
//   2. transform U = G g Gᵀ, [c][9][out_pack] -> [ξ][c][out_pack] for one pack: before it is used
//
// U is n²/9 times as large as g (4 times for m = 4). It is made once and kept, or (NativeWeights
// decides) every task makes it anew, for some channels of one pack at a time, so that it never
// leaves L2. Step 2 is done in float32 (matrix entries rounded once from float64); the errors of
// many channels average out, and do not show in a layer's error (bench/native.py accuracy).
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

/// Words of 32 bits from one point of U to the next.
template <class Products>
std::size_t weights_stride(int channels) {
    const int words = channels / lanes * Products::words;
    return plane_stride(std::size_t(words + Products::extra_rows) * out_pack);
}

/// U of one pack, [n²][weights_stride], of all its input channels or of some that follow each other
/// from block `first` on, an even one: pairs of blocks stay together.
template <int m, class Products>
__attribute__((noinline)) void transform_weights(const float* arranged, int first, int channels,
                                                 float* U) {
    constexpr int n = m + 2;
    static constexpr KernelTransform<m> transform{};
    constexpr int together = lanes / Products::words;  // channels in a word
    constexpr int step = 9 * out_pack;                 // from channel to channel
    const std::size_t stride = weights_stride<Products>(channels);
    for (int i = 0; i < channels / together; ++i) {
        const float* source = arranged + Products::channel(i, channels) * step;
        FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) {
            Floats columns[together][n][3];  // G g
            FASTSYNTH_UNROLL for (int c = 0; c < together; ++c)
                FASTSYNTH_UNROLL for (int x = 0; x < 3; ++x) {
                const float* g = source + c * step + x * out_pack + j * lanes;
                const Floats column[3] = {load(g), load(g + 3 * out_pack), load(g + 6 * out_pack)};
                Floats r[n];
                transform.apply(column, r);
                FASTSYNTH_UNROLL for (int row = 0; row < n; ++row) columns[c][row][x] = r[row];
            }
            float* target = U + i * out_pack + j * lanes;
            FASTSYNTH_UNROLL for (int row = 0; row < n; ++row) {
                Floats r[together][n];
                FASTSYNTH_UNROLL for (int c = 0; c < together; ++c)
                    transform.apply(columns[c][row], r[c]);
                FASTSYNTH_UNROLL for (int k = 0; k < n; ++k, target += stride) {
                    if constexpr (together == 1) {
                        store(target, r[0][k]);
                    } else {
                        Products::put_weights(target, r[0][k], r[1][k]);
                    }
                }
            }
        }
    }
    if constexpr (Products::is_paired)
        for (int point = 0; point < n * n; ++point)
            Products::finish_weights(U + point * stride, first, channels);
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
