// What products by pairs (winograd.pairs.cpp) need of each tile: a scale, because errors follow
// |x|² + |y|², and Σ x₁ x₂, to subtract from the outputs.
#pragma once

#include <array>
#include <cmath>

#include "microkernel.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

/// Scales V of N tiles at one point, and sums x₁ x₂ over the pairs of channels: a vector for each
/// tile, whose lanes are still to be added.
template <int N>
__attribute__((noinline)) void scale_tiles(float* V, int in_blocks, const float* scales,
                                           float* sums) {
    Floats sum[N] = {};
    int block = 0;
    for (; block + 1 < in_blocks; block += 2, V += 2 * N * lanes)
        FASTSYNTH_UNROLL for (int t = 0; t < N; ++t) {
            float *first = V + t * lanes, *second = V + (N + t) * lanes;
            const Floats x1 = scales[t] * load(first), x2 = scales[t] * load(second);
            store(first, x1);
            store(second, x2);
            sum[t] += x1 * x2;
        }
    if (block < in_blocks)
        for (int t = 0; t < N; ++t) store(V + t * lanes, scales[t] * load(V + t * lanes));
    FASTSYNTH_UNROLL for (int t = 0; t < N; ++t) store(sums + t * lanes, sum[t]);
}

using ScaleTiles = void (*)(float* V, int in_blocks, const float* scales, float* sums);
template <int... I>
constexpr std::array<ScaleTiles, sizeof...(I) + 1> make_scale_table(
    std::integer_sequence<int, I...>) {
    return {nullptr, scale_tiles<I + 1>...};
}

/// For the tiles of a task, in this order: `clear`, `add_squares` as V is made, `find`; `apply` at
/// each point; `finish`. Without pairs it takes no memory and is not used.
template <int m, class Products>
struct TileScales {
    using W = Winograd<m>;
    static constexpr int n = W::n, points = n * n;

    float *scale, *inverse;  ///< [tiles]: of V, and back
    float* x_x;              ///< [tiles][pack_vectors][m²]: to subtract from outputs
    float* sums;             ///< [points][tiles][lanes]: x_x, not yet taken to outputs

    static std::size_t floats(int tiles) {
        if (!Products::is_paired) return 0;
        return plane_stride(2 * tiles) + std::size_t(tiles) * pack_vectors * m * m +
               points * plane_stride(std::size_t(tiles) * lanes);
    }

    TileScales(float* scratch, int tiles)
        : scale(scratch),
          inverse(scale + tiles),
          x_x(scale + plane_stride(2 * tiles)),
          sums(x_x + std::size_t(tiles) * pack_vectors * m * m) {}

    void clear(int tiles) const {
        std::memset(sums, 0, std::size_t(tiles) * lanes * sizeof(float));
    }

    /// Adds the squares of values of one tile's V.
    FASTSYNTH_INLINE void add_squares(int tile, Floats squares) const {
        float* sum = sums + tile * lanes;
        store(sum, load(sum) + squares);
    }

    /// A scale for each tile, from the RMS of its V: it must not depend on who shares the tile's
    /// task.
    void find(const Convolution& conv, int tiles, const float* V, std::size_t stride) const {
        const double values = double(points) * conv.in_blocks * lanes;
        const int blocks = block_count(tiles, Products::tiles);
        for (int i = 0; i < blocks; ++i) {
            const TileBlock part = tile_block(tiles, blocks, i);
            for (int t = part.start; t < part.start + part.count; ++t) {
                const double sum = sum_lanes(load(sums + t * lanes));
                // Squares leave the range of float32 early: a sum of 0 may have been something,
                // infinity a number.
                const double mean_square = sum > 1e-25 && sum < 1e35
                                               ? sum / values
                                               : careful_mean_square(conv, part, t, V, stride);
                scale[t] = Products::scale(mean_square, conv.weights_rms);
                inverse[t] = 1.0f / scale[t];
            }
        }
    }

    /// Scales V at one point, for a block of tiles whose V comes first. To be called where that V
    /// is read next anyway.
    void apply(float* V, int in_blocks, TileBlock part, int point, int tiles) const {
        static constexpr auto scale_at =
            make_scale_table(std::make_integer_sequence<int, Products::tiles>());
        scale_at[part.count](V, in_blocks, scale + part.start,
                             sums_at(point, tiles) + part.start * lanes);
    }

    /// Takes these sums through the output transform, which is linear: fewer values are left to
    /// subtract there.
    __attribute__((noinline)) void finish(int tiles) const {
        static_assert(m * m == lanes, "a vector of outputs");
        for (int t = 0; t < tiles; ++t) {
            Floats tile[m][m], all[lanes], some[lanes];
            transform_output_tile<W>(
                [&](int point) { return load(sums_at(point, tiles) + t * lanes); }, tile);
            FASTSYNTH_UNROLL for (int k = 0; k < lanes; ++k) {
                all[k] = tile[k / m][k % m];
                some[k] = select(Products::second_lanes, all[k]);
            }
            float* target = x_x + std::size_t(t) * pack_vectors * lanes;
            store(target, inverse[t] * sum_each(all));
            store(target + lanes, inverse[t] * sum_each(some));
        }
    }

  private:
    /// The mean square of one tile of V, divided by its largest value meanwhile.
    static __attribute__((noinline)) double careful_mean_square(const Convolution& conv,
                                                                const TileBlock& part, int tile,
                                                                const float* V,
                                                                std::size_t stride) {
        const std::size_t depth = std::size_t(conv.in_blocks) * lanes;
        const auto each = [&](auto work) {
            for (int point = 0; point < points; ++point)
                for (int block = 0; block < conv.in_blocks; ++block)
                    work(load(V + point * stride + part.start * depth +
                              (block * part.count + tile - part.start) * lanes));
        };
        Floats most{};
        each([&](Floats v) { most = maximum(most, maximum(v, -v)); });
        float largest = 0.0f;
        for (int lane = 0; lane < lanes; ++lane)
            if (most[lane] > largest) largest = most[lane];
        if (!(largest > 0.0f)) return 0.0;
        Floats sum{};
        each([&](Floats v) {
            v /= largest;
            sum += v * v;
        });
        return double(sum_lanes(sum)) / (double(points) * double(depth)) * double(largest) *
               double(largest);
    }

    float* sums_at(int point, int tiles) const {
        return sums + std::size_t(point) * plane_stride(std::size_t(tiles) * lanes);
    }
};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
