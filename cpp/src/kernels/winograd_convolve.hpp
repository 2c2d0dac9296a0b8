// 3×3 convolution by Winograd's F(m×m, 3×3), forward and backward, as tasks of some tens of output
// tiles.
//
// A task owns its tiles from input to output (sharing transformed tiles between threads was
// measured to be slower):
//   1. input transform   V[ξ][tile][c] = Bᵀ d B for all input channels       n² · tiles · C floats:
//   L2 or L3
//   2. for each pack of output channels:
//      weights           U[ξ][c][o] = G g Gᵀ, unless it was made beforehand (winograd_weights.hpp)
//      products          M[ξ][tile][o] = Σ_c V[ξ][tile][c] · U[ξ][c][o]      n² products of
//      matrices; M stays in L2 output transform  y = Aᵀ M A, then bias, ReLU, pooling …
//      (conv_output.hpp)
// ξ counts the n² interpolation points. U is read once per task, as a pure stream: hence tasks of
// many tiles.
#pragma once

#include <cmath>
#include <type_traits>

#include "conv_input.hpp"
#include "conv_output.hpp"
#include "microkernel.hpp"
#include "stopwatch.hpp"
#include "winograd_weights.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

/// Floats between the planes of two points ξ: an odd number of cache lines, because planes at a
/// multiple of 4096 bytes would fall into the same cache sets (transforms five times slower).
inline std::size_t plane_stride(std::size_t floats) {
    constexpr std::size_t line = 16;
    return ((floats + line - 1) / line | 1) * line;
}

/// Products: Single (microkernel.hpp) or Half (winograd.bf16.cpp), in which precision V meets U.
template <int m, class Products>
struct Convolve {
    using W = Winograd<m>;
    static constexpr int n = W::n, points = n * n;
    static constexpr int words = Products::words;  // of a channel block in V

    static std::size_t v_stride(const Convolution& conv, int tiles) {
        return plane_stride(std::size_t(tiles) * conv.in_blocks * words);
    }
    static std::size_t m_stride(int tiles) { return plane_stride(std::size_t(tiles) * out_pack); }
    static std::size_t u_stride(const Convolution& conv) {
        const std::size_t floats =
            (std::size_t(conv.in_blocks) * words + Products::extra_rows) * out_pack;
        return conv.is_transformed ? floats : plane_stride(floats);
    }

    /// What products by pairs need of each tile, after the rest of the scratch memory.
    struct TileScales {
        float *scale, *inverse;  ///< [tiles]: of V, and back
        float* x_x;              ///< [tiles][pack_vectors][m²]: to subtract from outputs
        static constexpr std::size_t floats = 2 + pack_vectors * m * m;  // of a tile

        TileScales(float* scratch, int tiles)
            : scale(scratch), inverse(scale + tiles), x_x(inverse + tiles) {}
    };

    static std::size_t scratch_floats(const Convolution& conv, int tiles) {
        return points * (v_stride(conv, tiles) + m_stride(tiles)) +
               (conv.is_transformed ? 0 : n * u_stride(conv)) +
               (Products::is_paired ? std::size_t(tiles) * TileScales::floats : 0);
    }

    static void run(const Convolution& conv, const ConvTask& task) {
        const std::size_t stride_v = v_stride(conv, task.tiles), stride_m = m_stride(task.tiles);
        float* V = task.scratch;
        float* M = V + points * stride_v;
        float* U = M + points * stride_m;
        const TileScales scales(U + (conv.is_transformed ? 0 : n * u_stride(conv)), task.tiles);

        Stopwatch watch(task.seconds);
        if constexpr (Products::is_paired) find_scales(conv, task, V, scales);
        for (int block = 0; block < conv.in_blocks; ++block)
            with_reader(conv.input, block, conv.height, conv.width, [&](auto reader) {
                transform_input(conv, task, block, reader, V, stride_v, scales.scale);
            });
        if constexpr (Products::is_paired) multiply_tiles(conv, task, V, stride_v, scales);
        watch.lap(0);
        for (int output = task.first_output; output < task.last_output; ++output) {
            for (int row = 0; row < n; ++row) {
                const float* weights = weights_of(conv, output, row, U);
                for (int column = 0; column < n; ++column) {
                    const int point = row * n + column;
                    multiply(conv, task, weights + column * u_stride(conv), V + point * stride_v,
                             stride_v, M + point * stride_m);
                }
            }
            watch.lap(1);
            transform_output(conv, task, output, M, stride_m, scales);
            watch.lap(2);
        }
        if (conv.stream) fence();
    }

    /// U of a pack of output channels at one row of points: [n][c][out_pack], u_stride apart.
    static const float* weights_of(const Convolution& conv, int output, int row, float* scratch) {
        const int channels = conv.in_blocks * lanes;
        if (conv.is_transformed)
            return conv.weights + (std::size_t(output) * n + row) * n * u_stride(conv);
        transform_weights<m, Products>(conv.weights + std::size_t(output) * channels * 9 * out_pack,
                                       channels, row, scratch, u_stride(conv));
        return scratch;
    }

    /// Calls work(t, read, is_edge) for `count` tiles of the task, where read(row, column) are the
    /// tile's inputs; is_edge: some of them lie outside the picture.
    template <class Reader, class Work>
    static FASTSYNTH_INLINE void each_tile(const Convolution& conv, const ConvTask& task, int first,
                                           int count, Reader reader, Work work) {
        const int tiles_per_row = (conv.width + m - 1) / m;
        int row = (task.first_tile + first) / tiles_per_row;
        int column = (task.first_tile + first) % tiles_per_row;
        alignas(64) float edge[points * lanes];
        for (int t = 0; t < count; ++t) {
            const int y = row * m - 1, x = column * m - 1;
            if (y >= 0 && x >= 0 && y + n <= reader.safe_height() && x + n <= reader.safe_width()) {
                reader.move(y, x);
                work(t, [&](int r, int c) { return reader.at(r, c); }, std::false_type());
            } else {
                for (int r = 0; r < n; ++r)
                    for (int c = 0; c < n; ++c)
                        store(edge + (r * n + c) * lanes, reader.bounded(y + r, x + c));
                work(
                    t, [&](int r, int c) { return load(edge + (r * n + c) * lanes); },
                    std::true_type());
            }
            if (++column == tiles_per_row) {
                column = 0;
                ++row;
            }
        }
    }

    /// V of one channel block, for all tiles of the task. Layout: [ξ][block of
    /// tiles][C/B][tile][words].
    template <class Reader>
    static __attribute__((noinline)) void transform_input(const Convolution& conv,
                                                          const ConvTask& task, int block,
                                                          Reader reader, float* V,
                                                          std::size_t stride,
                                                          [[maybe_unused]] const float* scales) {
        const int depth = conv.in_blocks * words;
        const int blocks = block_count(task.tiles, Products::tiles);
        [[maybe_unused]] Floats signs{};
        if constexpr (Products::is_paired) signs = Products::signs(block, conv.in_blocks);
        for (int i = 0; i < blocks; ++i) {
            const TileBlock part = tile_block(task.tiles, blocks, i);
            float* first =
                V + std::size_t(part.start) * depth + std::size_t(block) * part.count * words;
            each_tile(conv, task, part.start, part.count, reader, [&](int t, auto read, auto) {
                float* target = first + t * words;
                const auto put = [&](int point, Floats v) {
                    Products::put(target + point * stride, v);
                };
                if constexpr (Products::is_paired) {
                    const Floats factor = scales[part.start + t] * signs;
                    transform_input_tile<W>([&](int r, int c) { return factor * read(r, c); }, put);
                } else {
                    transform_input_tile<W>(read, put);
                }
            });
        }
    }

    // ---- for products by pairs (winograd.pairs.cpp) ----

    /// A scale for each tile, from the RMS of its inputs. `sums`: memory for a vector a tile.
    static __attribute__((noinline)) void find_scales(const Convolution& conv, const ConvTask& task,
                                                      float* sums, const TileScales& scales) {
        const auto measure = [&](auto join) {
            std::memset(sums, 0, std::size_t(task.tiles) * lanes * sizeof(float));
            for (int block = 0; block < conv.in_blocks; ++block)
                with_reader(conv.input, block, conv.height, conv.width, [&](auto reader) {
                    each_tile(
                        conv, task, 0, task.tiles, reader, [&](int t, auto read, auto is_edge) {
                            store(sums + t * lanes, join(t, load(sums + t * lanes), read, is_edge));
                        });
                });
        };
        const auto squares = [&](int t, Floats sum, auto read, auto is_edge) {
            const float factor = scales.inverse[t];
            if constexpr (decltype(is_edge)::value) {
                // Zeros on one side: V is larger than such inputs usually give. So from V itself.
                const auto add = [&](int, Floats v) {
                    v *= Products::usual_gain * factor;
                    sum += v * v;
                };
                transform_input_tile<W>(read, add);
            } else {
                FASTSYNTH_UNROLL for (int r = 0; r < n; ++r)
                    FASTSYNTH_UNROLL for (int c = 0; c < n; ++c) {
                    const Floats v = factor * read(r, c);
                    sum += v * v;
                }
            }
            return sum;
        };
        const auto most = [](int, Floats sum, auto read, auto) {
            for (int r = 0; r < n; ++r)
                for (int c = 0; c < n; ++c) sum = maximum(sum, maximum(read(r, c), -read(r, c)));
            return sum;
        };

        // Squares leave the range of float32 early: a sum of 0 may have been something, infinity a
        // number. Such tiles (scale 0, meanwhile) are measured again, divided by their largest
        // value; the others keep their scales, which must not depend on who shares their task.
        const double values = double(points) * conv.in_blocks * lanes;
        for (int t = 0; t < task.tiles; ++t) {
            scales.scale[t] = 0.0f;
            scales.inverse[t] = 1.0f;
        }
        for (bool again = false;; again = true) {
            measure(squares);
            bool is_done = true;
            for (int t = 0; t < task.tiles; ++t) {
                if (scales.scale[t] > 0.0f) continue;
                double sum = 0.0;
                for (int lane = 0; lane < lanes; ++lane) sum += sums[t * lanes + lane];
                if (again || (sum > 1e-25 && sum < 1e35)) {
                    scales.scale[t] = Products::scale(
                        std::sqrt(sum / values) / double(scales.inverse[t]), conv.weights_rms);
                } else {
                    is_done = false;
                }
            }
            if (is_done) break;
            measure(most);
            for (int t = 0; t < task.tiles; ++t) {
                float largest = 0.0f;
                for (int lane = 0; lane < lanes; ++lane)
                    largest = sums[t * lanes + lane] > largest ? sums[t * lanes + lane] : largest;
                if (largest > 1e-30f && largest < 1e30f) scales.inverse[t] = 1.0f / largest;
            }
        }
        for (int t = 0; t < task.tiles; ++t) scales.inverse[t] = 1.0f / scales.scale[t];
    }

    /// Σ x₁ x₂ of each tile, taken through the output transform, which is linear: fewer values are
    /// left to subtract there.
    static __attribute__((noinline)) void multiply_tiles(const Convolution& conv,
                                                         const ConvTask& task, const float* V,
                                                         std::size_t stride,
                                                         const TileScales& scales) {
        const std::size_t depth = std::size_t(conv.in_blocks) * words;
        const int blocks = block_count(task.tiles, Products::tiles);
        for (int i = 0; i < blocks; ++i) {
            const TileBlock part = tile_block(task.tiles, blocks, i);
            const std::size_t next = std::size_t(part.count) * words;
            for (int t = 0; t < part.count; ++t) {
                const float* values = V + part.start * depth + t * words;
                Floats tile[m][m];
                transform_output_tile<W>(
                    [&](int point) {
                        const float* x = values + point * stride;
                        Floats sum{};
                        for (int pair = 0; pair < conv.in_blocks / 2; ++pair, x += 2 * next)
                            sum += load(x) * load(x + next);
                        return sum;
                    },
                    tile);
                const int place = part.start + t;
                float* x_x = scales.x_x + std::size_t(place) * pack_vectors * m * m;
                for (int k = 0; k < m * m; ++k) {
                    Products::sum_lanes(tile[k / m][k % m], x_x[k], x_x[m * m + k]);
                    x_x[k] *= scales.inverse[place];
                    x_x[m * m + k] *= scales.inverse[place];
                }
            }
        }
    }

    /// M = V U at one point. `stride`: to the next point's V.
    static void multiply(const Convolution& conv, const ConvTask& task, const float* U,
                         const float* V, std::size_t stride, float* M) {
        const std::size_t depth = std::size_t(conv.in_blocks) * words;
        const int blocks = block_count(task.tiles, Products::tiles);
        const float* next_U = U + u_stride(conv);
        for (int i = 0; i < blocks; ++i) {
            const TileBlock part = tile_block(task.tiles, blocks, i);
            const float* next_V =
                i + 1 < blocks ? V + (part.start + part.count) * depth : V + stride;
            Products::multiply[part.count](V + part.start * depth, U, conv.in_blocks,
                                           M + std::size_t(part.start) * out_pack, next_V,
                                           next_U + (i % 2) * (depth * out_pack / 2));
        }
    }

    static void transform_output(const Convolution& conv, const ConvTask& task, int output,
                                 const float* M, std::size_t stride, const TileScales& scales) {
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
        transform_input_tile<W>([&](int r, int c) { return broadcast(tile[r * n + c]); },
                                [&](int point, Floats v) { transformed[point] = v[0]; });
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
    return {m,      Products::words < lanes,        Products::extra_rows, C::scratch_floats,
            C::run, transform_weights<m, Products>, C::test_input,        C::test_output};
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
