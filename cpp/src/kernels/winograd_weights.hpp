// The weights of a Winograd convolution: U = G g Gᵀ, computed in float64, rounded once, and packed
// for the micro-kernel.
#pragma once

#include "microkernel.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

/// G of winograd_points.hpp.
template <int m>
struct KernelTransform {
    static constexpr int n = m + 2;
    double G[n][3] = {};

    constexpr KernelTransform() {
        for (int i = 0; i < n - 1; ++i) {
            const double p = WinogradPoints<m>::points[i];
            double product = 1.0;
            for (int j = 0; j < n - 1; ++j)
                if (j != i) product *= p - WinogradPoints<m>::points[j];
            G[i][0] = 1.0 / product;
            G[i][1] = p / product;
            G[i][2] = p * p / product;
        }
        G[n - 1][2] = 1.0;
    }
};

/// See WinogradKernels::pack. Works on all output channels of a pack at once, so that the compiler
/// can vectorise.
template <int m>
void pack_weights(const float* weights, int outputs, int inputs, bool backward, int pack,
                  float* packed) {
    constexpr int n = m + 2;
    constexpr KernelTransform<m> transform;
    const auto& G = transform.G;
    // The packed convolution reads `from` channels and writes `to`; OIHW strides follow from the
    // direction.
    const int from = backward ? outputs : inputs, to = backward ? inputs : outputs;
    const std::size_t from_stride = backward ? std::size_t(inputs) * 9 : 9;
    const std::size_t to_stride = backward ? 9 : std::size_t(inputs) * 9;
    const int channels = (from + lanes - 1) / lanes * lanes;

    double g[9][out_pack], rows[n][3][out_pack];
    for (int c = 0; c < channels; ++c) {
        for (int k = 0; k < 9; ++k)
            for (int lane = 0; lane < out_pack; ++lane) {
                const int o = pack * out_pack + lane;
                const bool exists = c < from && o < to;
                g[k][lane] = exists
                                 ? weights[c * from_stride + o * to_stride + (backward ? 8 - k : k)]
                                 : 0.0;
            }
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < 3; ++j)
                for (int lane = 0; lane < out_pack; ++lane)
                    rows[i][j][lane] =
                        G[i][0] * g[j][lane] + G[i][1] * g[3 + j][lane] + G[i][2] * g[6 + j][lane];
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) {
                float* target = packed + (std::size_t(i * n + j) * channels + c) * out_pack;
                for (int lane = 0; lane < out_pack; ++lane)
                    target[lane] =
                        static_cast<float>(G[j][0] * rows[i][0][lane] + G[j][1] * rows[i][1][lane] +
                                           G[j][2] * rows[i][2][lane]);
            }
    }
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
