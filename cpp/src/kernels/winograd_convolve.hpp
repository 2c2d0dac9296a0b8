// 3×3 convolution by Winograd's F(m×m, 3×3), forward and backward, as tasks of some tens of output
// tiles.
//
// A task owns its tiles from input to output (sharing transformed tiles between threads was
// measured to be slower):
//   1. input transform   V[ξ][tile][c] = Bᵀ d B of all input channels, in L2 or L3
//   2. for each pack of output channels:
//      weights           U[ξ][c][o] = G g Gᵀ, unless it was made beforehand (winograd_weights.hpp):
//                        of 64 input channels, then their products, then of the next, …
//      products          M[ξ][tile][o] = Σ_c V[ξ][tile][c] U[ξ][c][o]: n² products, M stays in L2
//      output transform  y = Aᵀ M A, then bias, ReLU, pooling … (conv_output.hpp)
// ξ counts the n² interpolation points. U is read once per task, as a pure stream: hence tasks of
// many tiles.
#pragma once

#include <algorithm>

#include "conv_input.hpp"
#include "conv_output.hpp"
#include "stopwatch.hpp"
#include "winograd_scales.hpp"
#include "winograd_weights.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

/// Products: Single (microkernel.hpp), Half (winograd.bf16.cpp) or Paired (winograd.pairs.cpp): how
/// V meets U.
template <int m, class Products>
struct Convolve {
    using W = Winograd<m>;
    using Scales = TileScales<m, Products>;
    static constexpr int n = W::n, points = n * n;
    static constexpr int words = Products::words;  // of a channel block in V

    static std::size_t v_stride(const Convolution& conv, int tiles) {
        return plane_stride(std::size_t(tiles) * conv.in_blocks * words);
    }
    static std::size_t m_stride(int tiles) { return plane_stride(std::size_t(tiles) * out_pack); }
    static std::size_t u_stride(int blocks) { return weights_stride<Products>(blocks * lanes); }

    /// Channel blocks whose products are made together: all, or so many that their U stays in L2
    /// when a task makes it itself.
    static int chunk_blocks(const Convolution& conv) {
        return conv.is_transformed ? conv.in_blocks : std::min(conv.in_blocks, 64 / lanes);
    }
    static std::size_t u_floats(const Convolution& conv) {
        return conv.is_transformed ? 0 : points * u_stride(chunk_blocks(conv));
    }

    static std::size_t scratch_floats(const Convolution& conv, int tiles) {
        return points * (v_stride(conv, tiles) + m_stride(tiles)) + u_floats(conv) +
               Scales::floats(tiles);
    }

    static void run(const Convolution& conv, const ConvTask& task) {
        const std::size_t stride_v = v_stride(conv, task.tiles), stride_m = m_stride(task.tiles);
        float* V = task.scratch;
        float* M = V + points * stride_v;
        float* U = M + points * stride_m;
        const Scales scales(U + u_floats(conv), task.tiles);

        Stopwatch watch(task.seconds);
        if constexpr (Products::is_paired) scales.clear(task.tiles);
        for (int block = 0; block < conv.in_blocks; ++block)
            with_reader(conv.input, block, conv.height, conv.width, [&](auto reader) {
                transform_input(conv, task, block, reader, V, stride_v, scales);
            });
        if constexpr (Products::is_paired) scales.find(conv, task.tiles, V, stride_v);
        watch.lap(0);
        for (int output = task.first_output; output < task.last_output; ++output) {
            const int chunk = chunk_blocks(conv);
            for (int first = 0; first < conv.in_blocks; first += chunk) {
                const Blocks blocks{first, std::min(chunk, conv.in_blocks - first)};
                const float* weights = weights_of(conv, output, blocks, U);
                const bool is_unscaled = output == task.first_output && first == 0;
                for (int point = 0; point < points; ++point) {
                    if (!conv.is_transformed) fetch_ahead(conv, task, output, blocks, point);
                    multiply(conv, task, blocks, weights + point * u_stride(blocks.count),
                             V + point * stride_v, stride_v, M + point * stride_m,
                             is_unscaled ? &scales : nullptr, point);
                }
            }
            if constexpr (Products::is_paired)
                if (output == task.first_output) scales.finish(task.tiles);
            watch.lap(1);
            transform_output(conv, task, output, M, stride_m, scales);
            watch.lap(2);
        }
        if (conv.stream) fence();
    }

    /// Channel blocks of the input that follow each other.
    struct Blocks {
        int first, count;
    };

    /// U of a pack of output channels: [ξ][c][out_pack], u_stride apart.
    static const float* weights_of(const Convolution& conv, int output, const Blocks& blocks,
                                   float* scratch) {
        if (conv.is_transformed)
            return conv.weights + std::size_t(output) * points * u_stride(conv.in_blocks);
        const std::size_t channel = (std::size_t(output) * conv.in_blocks + blocks.first) * lanes;
        transform_weights<m, Products>(conv.weights + channel * 9 * out_pack, blocks.first,
                                       blocks.count * lanes, scratch);
        return scratch;
    }

    /// Fetches to L2 what will be transformed next, a part of it at each point: with few tiles the
    /// weights' way from memory takes longer than anything else. (Inlined: GCC drops calls of
    /// functions that do nothing but this.)
    static FASTSYNTH_INLINE void fetch_ahead(const Convolution& conv, const ConvTask& task,
                                             int output, const Blocks& blocks, int point) {
        const int next = blocks.first + blocks.count;
        if (next == conv.in_blocks && output + 1 == task.last_output) return;
        const std::size_t block_floats = std::size_t(lanes) * 9 * out_pack;
        const float* weights =
            conv.weights + (std::size_t(output) * conv.in_blocks + next) * block_floats;
        constexpr std::size_t line = 16;         // floats
        const int left = conv.in_blocks - next;  // 0: the next pack follows
        const int count = left > 0 ? std::min(left, blocks.count) : blocks.count;
        const std::size_t lines = count * block_floats / line;
        for (std::size_t i = lines * point / points; i < lines * (point + 1) / points; ++i)
            __builtin_prefetch(weights + i * line, 0, 2);
    }

    /// V of one channel block, for all tiles of the task. Layout: [ξ][block of
    /// tiles][C/B][tile][words].
    template <class Reader>
    static __attribute__((noinline)) void transform_input(const Convolution& conv,
                                                          const ConvTask& task, int block,
                                                          Reader reader, float* V,
                                                          std::size_t stride,
                                                          const Scales& scales) {
        const int tiles_per_row = (conv.width + m - 1) / m;
        const int depth = conv.in_blocks * words;
        const int blocks = block_count(task.tiles, Products::tiles);
        int row = task.first_tile / tiles_per_row, column = task.first_tile % tiles_per_row;
        alignas(64) float edge[points * lanes];
        [[maybe_unused]] Floats signs{};
        if constexpr (Products::is_paired) signs = Products::signs(block, conv.in_blocks);
        for (int i = 0; i < blocks; ++i) {
            const TileBlock part = tile_block(task.tiles, blocks, i);
            float* target =
                V + std::size_t(part.start) * depth + std::size_t(block) * part.count * words;
            for (int t = 0; t < part.count; ++t, target += words) {
                Floats squares[2] = {};
                const auto transform = [&](auto read) {
                    const auto into = [&](int line) {
                        // Hidden, lest the compiler keep 36 addresses in memory.
                        return [&, to = hidden(target + line * n * stride)](int point, Floats v) {
                            Products::put(to + point * stride, v);
                            if constexpr (Products::is_paired) squares[point % 2] += v * v;
                        };
                    };
                    if constexpr (Products::is_paired) {
                        transform_input_tile<W>(signs, read, into);
                    } else {
                        transform_input_tile<W>(1.0f, read, into);
                    }
                };
                const int y = row * m - 1, x = column * m - 1;
                if (y >= 0 && x >= 0 && y + n <= reader.safe_height() &&
                    x + n <= reader.safe_width()) {
                    reader.move(y, x);
                    transform([&](int r, int c) { return reader.at(r, c); });
                } else {
                    for (int r = 0; r < n; ++r)
                        for (int c = 0; c < n; ++c)
                            store(edge + (r * n + c) * lanes, reader.bounded(y + r, x + c));
                    transform([&](int r, int c) { return load(edge + (r * n + c) * lanes); });
                }
                if constexpr (Products::is_paired)
                    scales.add_squares(part.start + t, squares[0] + squares[1]);
                if (++column == tiles_per_row) {
                    column = 0;
                    ++row;
                }
            }
        }
    }

    /// M = V U at one point. `stride`: to the next point's V. `scales`: if V is not yet scaled.
    static void multiply(const Convolution& conv, const ConvTask& task, const Blocks& channels,
                         const float* U, float* V, std::size_t stride, float* M,
                         const Scales* scales, int point) {
        const std::size_t depth = std::size_t(conv.in_blocks) * words;
        const std::size_t count = std::size_t(channels.count) * words;
        const int blocks = block_count(task.tiles, Products::tiles);
        const float* next_U = U + u_stride(channels.count);
        for (int i = 0; i < blocks; ++i) {
            const TileBlock part = tile_block(task.tiles, blocks, i);
            const std::size_t first = std::size_t(channels.first) * part.count * words;
            const float* next_V =
                (i + 1 < blocks ? V + (part.start + part.count) * depth : V + stride) + first;
            if constexpr (Products::is_paired)
                if (scales)
                    scales->apply(V + part.start * depth, conv.in_blocks, part, point, task.tiles);
            Products::multiply[part.count](V + part.start * depth + first, U, channels.count,
                                           M + std::size_t(part.start) * out_pack,
                                           channels.first > 0, next_V,
                                           next_U + (i % 2) * (count * out_pack / 2));
        }
    }

    static void transform_output(const Convolution& conv, const ConvTask& task, int output,
                                 const float* M, std::size_t stride, const Scales& scales) {
        const int tiles_per_row = (conv.width + m - 1) / m;
        for (int j = 0; j < pack_vectors; ++j) {
            const int block = output * pack_vectors + j;
            if (block >= conv.out_blocks) break;
            int row = task.first_tile / tiles_per_row, column = task.first_tile % tiles_per_row;
            for (int t = 0; t < task.tiles; ++t) {
                const TilePlace at{block, row * m, column * m, conv.height, conv.width};
                const float* sums = M + std::size_t(t) * out_pack + j * lanes;
                float inverse = 1.0f;
                const float* x_x = nullptr;
                if constexpr (Products::is_paired) {
                    inverse = scales.inverse[t];
                    x_x = scales.x_x + (std::size_t(t) * pack_vectors + j) * m * m;
                }
                if (at.y + m <= conv.height && at.x + m <= conv.width) {
                    finish_tile<false>(conv, at, sums, stride, inverse, x_x);
                } else {
                    finish_tile<true>(conv, at, sums, stride, inverse, x_x);
                }
                if (++column == tiles_per_row) {
                    column = 0;
                    ++row;
                }
            }
        }
    }

    template <bool partial>
    static __attribute__((noinline)) void finish_tile(const Convolution& conv, const TilePlace& at,
                                                      const float* sums, std::size_t stride,
                                                      [[maybe_unused]] float inverse,
                                                      [[maybe_unused]] const float* x_x) {
        Floats tile[m][m];
        transform_output_tile<W>([&](int point) { return load(sums + point * stride); }, tile);
        if constexpr (Products::is_paired)
            FASTSYNTH_UNROLL for (int i = 0; i < m; ++i)
                FASTSYNTH_UNROLL for (int j = 0; j < m; ++j) tile[i][j] =
                    tile[i][j] * inverse - broadcast(x_x[i * m + j]);
        if (conv.is_backward) {
            TileOutput<m>::template backward<partial>(conv.backward, conv.stream, at, tile);
        } else {
            TileOutput<m>::template forward<partial>(conv.forward, conv.stream, at, tile);
        }
    }

    // ---- for tests: each lane the same value ----

    static void test_input(const float* tile, float* transformed) {
        transform_input_tile<W>(
            1.0f, [&](int r, int c) { return broadcast(tile[r * n + c]); },
            [&](int row) {
                return
                    [line = transformed + row * n](int column, Floats v) { line[column] = v[0]; };
            });
    }
    static void test_output(const float* sums, float* outputs) {
        Floats tile[m][m];
        transform_output_tile<W>([&](int point) { return broadcast(sums[point]); }, tile);
        for (int i = 0; i < m; ++i)
            for (int j = 0; j < m; ++j) outputs[i * m + j] = tile[i][j][0];
    }
};

template <int m, class Products>
constexpr WinogradKernels make_kernels() {
    using C = Convolve<m, Products>;
    return {m,
            Products::tiles,
            Products::words < lanes,
            Products::is_paired,
            C::scratch_floats,
            C::run,
            weights_stride<Products>,
            [](const float* arranged, int channels, float* transformed) {
                transform_weights<m, Products>(arranged, 0, channels, transformed);
            },
            C::test_input,
            C::test_output};
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
