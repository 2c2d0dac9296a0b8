// Passes over whole maps where nothing can be fused: pooling right after the first layer, and the
// gradient there. And the measurement of the machine's peak of multiply-adds.
#include "conv_input.hpp"
#include "conv_output.hpp"
#include "microkernel.hpp"
#include "winograd_weights.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

void pool(const float* map, int height, int width, Pooling pooling, float* pooled,
          std::uint8_t* route_bits) {
    for (int y = 0; y < height / 2; ++y)
        for (int x = 0; x < width / 2; ++x) {
            const std::size_t corner = std::size_t(2 * y) * width + 2 * x;
            const std::size_t from[4] = {corner, corner + 1, corner + width, corner + width + 1};
            const PoolWindow window =
                pool_window(pooling, load(map + from[0] * lanes), load(map + from[1] * lanes),
                            load(map + from[2] * lanes), load(map + from[3] * lanes));
            store(pooled + (std::size_t(y) * (width / 2) + x) * lanes, window.value);
            if (!route_bits) continue;
            for (int i = 0; i < 4; ++i) store_bits(route_bits, from[i], window.route[i]);
        }
}

void gather(const ConvInput& input, int height, int width, int block, float* gradient) {
    with_reader(input, block, height, width, [&](auto reader) {
        float* out = gradient + std::size_t(block) * height * width * lanes;
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x, out += lanes) store(out, reader.bounded(y, x));
    });
}

/// Chains of independent multiply-adds, as many as the micro-kernel has.
double multiply_adds(long rounds) {
    constexpr int chains = tile_pack * pack_vectors;
    Floats sums[chains];
    Floats factor = broadcast(0.999f), term = broadcast(0.001f);
    keep(factor);
    keep(term);
    FASTSYNTH_UNROLL for (int i = 0; i < chains; ++i) {
        sums[i] = Floats{};
        keep(sums[i]);
    }
    for (long round = 0; round < rounds; ++round)
        FASTSYNTH_UNROLL for (int i = 0; i < chains; ++i) sums[i] = sums[i] * factor + term;
    Floats total{};
    FASTSYNTH_UNROLL for (int i = 0; i < chains; ++i) total += sums[i];
    volatile float used = total[0];  // so that nothing is dropped as unused
    static_cast<void>(used);
    return 2.0 * lanes * chains * static_cast<double>(rounds);
}

}  // namespace

extern const WinogradKernels winograd4, winograd6;
extern const FirstLayerKernels first_layer;

extern const ConvKernels conv_kernel_table;
const ConvKernels conv_kernel_table = {lanes,        sizeof(Bits),   out_pack,     &winograd4,
                                       &winograd4,   &winograd6,     nullptr,      arrange_weights,
                                       &first_layer, {pool, gather}, multiply_adds};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
