// What happens to the outputs of a convolution tile while they are still in registers: bias, ReLU,
// bits, pooling; or, on the way back, scale, mask. A map that is not written here would
// have to be read again.
#pragma once

#include "bits.hpp"
#include "conv_kernels.hpp"
#include "winograd_transforms.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

/// The 2×2 pooling of a window and, per value, the bits that route the gradient. torch's rules: the
/// first of equal maxima wins (rows first), and the ReLU passes gradient only where the value is
/// positive.
struct PoolWindow {
    Floats value;
    Bits route[4];
};
FASTSYNTH_INLINE PoolWindow pool_window(Pooling pooling, Floats a, Floats b, Floats c, Floats d) {
    if (pooling == Pooling::average)
        return {0.25f * ((a + b) + (c + d)), {positive(a), positive(b), positive(c), positive(d)}};
    const Floats value = maximum(maximum(a, b), maximum(c, d));
    const Bits open = positive(value);
    const Bits first = at_least(a, value) & open;
    const Bits second = at_least(b, value) & open & static_cast<Bits>(~first);
    const Bits third = at_least(c, value) & open & static_cast<Bits>(~(first | second));
    const Bits fourth = open & static_cast<Bits>(~(first | second | third));
    return {value, {first, second, third, fourth}};
}

/// Where an m×m tile lies in a channel block of the output.
struct TilePlace {
    int block;          ///< channel block
    int y, x;           ///< of the tile's first output
    int height, width;  ///< of the map
};

template <int m>
struct TileOutput {
    /// `partial`: the tile reaches over the map's lower or right edge.
    template <bool partial>
    static FASTSYNTH_INLINE void forward(const ForwardOutput& out, bool is_streamed,
                                         const TilePlace& at, Floats (&tile)[m][m]) {
        const int rows = partial && at.height - at.y < m ? at.height - at.y : m;
        const int columns = partial && at.width - at.x < m ? at.width - at.x : m;
        const std::size_t pixel = (std::size_t(at.block) * at.height + at.y) * at.width +
                                  at.x;  // the tile's first, in this block's map

        const Floats bias = load(out.bias + at.block * lanes);
        FASTSYNTH_UNROLL for (int i = 0; i < m; ++i) FASTSYNTH_UNROLL for (int j = 0; j < m; ++j)
            tile[i][j] = relu(tile[i][j] + bias);

        if (out.relu_bits)
            each<partial>(rows, columns, [&](int i, int j) {
                store_bits(out.relu_bits, pixel + std::size_t(i) * at.width + j,
                           positive(tile[i][j]));
            });
        if (out.map)
            each<partial>(rows, columns, [&](int i, int j) {
                put(out.map + (pixel + std::size_t(i) * at.width + j) * lanes, tile[i][j],
                    is_streamed);
            });
        if (out.pooled) {
            // m is even, so windows never straddle tiles; an odd last row or column is dropped.
            const int half_width = at.width / 2;
            const std::size_t target =
                (std::size_t(at.block) * (at.height / 2) + at.y / 2) * half_width + at.x / 2;
            FASTSYNTH_UNROLL for (int i = 0; i < m; i += 2)
                FASTSYNTH_UNROLL for (int j = 0; j < m; j += 2) {
                if (partial && (i + 1 >= rows || j + 1 >= columns)) continue;
                const PoolWindow window = pool_window(out.pooling, tile[i][j], tile[i][j + 1],
                                                      tile[i + 1][j], tile[i + 1][j + 1]);
                store(out.pooled + (target + std::size_t(i / 2) * half_width + j / 2) * lanes,
                      window.value);
                if (!out.route_bits) continue;
                const std::size_t corner = pixel + std::size_t(i) * at.width + j;
                store_bits(out.route_bits, corner, window.route[0]);
                store_bits(out.route_bits, corner + 1, window.route[1]);
                store_bits(out.route_bits, corner + at.width, window.route[2]);
                store_bits(out.route_bits, corner + at.width + 1, window.route[3]);
            }
        }
    }

    template <bool partial>
    static FASTSYNTH_INLINE void backward(const BackwardOutput& out, bool is_streamed,
                                          const TilePlace& at, Floats (&tile)[m][m]) {
        const int rows = partial && at.height - at.y < m ? at.height - at.y : m;
        const int columns = partial && at.width - at.x < m ? at.width - at.x : m;
        const std::size_t pixel = (std::size_t(at.block) * at.height + at.y) * at.width + at.x;
        if (out.scale != 1.0f)
            FASTSYNTH_UNROLL for (int i = 0; i < m; ++i)
                FASTSYNTH_UNROLL for (int j = 0; j < m; ++j) tile[i][j] *= out.scale;
        if (out.mask)
            each<partial>(rows, columns, [&](int i, int j) {
                tile[i][j] =
                    select(load_bits(out.mask, pixel + std::size_t(i) * at.width + j), tile[i][j]);
            });
        each<partial>(rows, columns, [&](int i, int j) {
            put(out.map + (pixel + std::size_t(i) * at.width + j) * lanes, tile[i][j], is_streamed);
        });
    }

  private:
    template <bool partial, class Body>
    static FASTSYNTH_INLINE void each(int rows, int columns, Body body) {
        FASTSYNTH_UNROLL for (int i = 0; i < m; ++i)
            FASTSYNTH_UNROLL for (int j = 0; j < m; ++j) if (!partial || (i < rows && j < columns))
                body(i, j);
    }

    static FASTSYNTH_INLINE void put(float* p, Floats v, bool is_streamed) {
        if (is_streamed) {
            stream(p, v);
        } else {
            store(p, v);
        }
    }
};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
