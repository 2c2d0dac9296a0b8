// The micro-kernel, where nine tenths of the time go: a product of small matrices held in
// registers.
//
//   M[t][o] = Σ_c V[t][c] · U[c][o]      t: N tiles,  o: out_pack output channels,
//                                        c: all input channels, or some, added to those before
//
// V is packed [C/B][N][B] and U [C][out_pack], so both are read front to back. N · 2 vectors of
// sums stay in registers until all channels of the call are added, and for each c
// two vectors of U meet N broadcast values of V. With 32 registers (AVX-512, NEON) N = 14 uses 28 +
// 2 + 1 of them, with 16 (AVX2, SSE) N = 6 uses 12 + 2 + 1. Each sum is one chain of multiply-adds
// in the order of c, whatever N: results do not depend on how tiles are packed.
#pragma once

#include <array>
#include <cstddef>
#include <utility>

#include "bits.hpp"
#include "winograd_transforms.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int tile_pack = 14;
#else
constexpr int tile_pack = 6;
#endif
constexpr int pack_vectors = 2;
constexpr int out_pack = pack_vectors * lanes;

template <int N>
FASTSYNTH_INLINE void load_sums(const float* M, Floats (&sums)[N][pack_vectors]) {
    FASTSYNTH_UNROLL for (int t = 0; t < N; ++t)
        FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) sums[t][j] =
            load(M + t * out_pack + j * lanes);
}

template <int N>
__attribute__((noinline)) void multiply_block(const float* V, const float* U, int in_blocks,
                                              float* M, bool adds, const float*, const float*) {
    Floats sums[N][pack_vectors];
    FASTSYNTH_UNROLL for (int t = 0; t < N; ++t)
        FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) sums[t][j] = Floats{};
    if (adds) load_sums(M, sums);
    for (int block = 0; block < in_blocks; ++block, V += N * lanes) {
        _Pragma("GCC unroll 4") for (int c = 0; c < lanes; ++c, U += out_pack) {
            Floats u[pack_vectors];
            FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) u[j] = load(U + j * lanes);
            FASTSYNTH_UNROLL for (int t = 0; t < N; ++t) {
                Floats v = broadcast(V[t * lanes + c]);
                keep(v);
                FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) sums[t][j] += v * u[j];
            }
        }
    }
    FASTSYNTH_UNROLL for (int t = 0; t < N; ++t)
        FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j)
            store(M + t * out_pack + j * lanes, sums[t][j]);
}

/// in_blocks: those of U here. adds: to what M holds. next_V, next_U: what calls that follow will
/// read, for those that fetch it in advance.
using MultiplyBlock = void (*)(const float* V, const float* U, int in_blocks, float* M, bool adds,
                               const float* next_V, const float* next_U);

template <int... I>
constexpr std::array<MultiplyBlock, sizeof...(I) + 1> make_multiply_table(
    std::integer_sequence<int, I...>) {
    return {nullptr, multiply_block<I + 1>...};
}

/// Products of float32 numbers: how a Winograd convolution stores V and U, and multiplies them.
struct Single {
    static constexpr int words = lanes;  ///< 32-bit words of a channel block, in V and in U's rows
    static constexpr int tiles = tile_pack;   ///< that one micro-kernel handles at most
    static constexpr int extra_rows = 0;      ///< of U, after those of the channels
    static constexpr bool is_paired = false;  ///< winograd.pairs.cpp
    /// The (first) channel of a row of U.
    static constexpr std::size_t channel(int row, int) { return static_cast<std::size_t>(row); }
    /// [1 … tiles]: the micro-kernel for so many tiles.
    static constexpr auto multiply =
        make_multiply_table(std::make_integer_sequence<int, tile_pack>());
    /// Stores a channel block of a tile.
    static FASTSYNTH_INLINE void put(float* V, Floats v) { store(V, v); }
};

/// Floats between the planes of two points ξ: an odd number of cache lines, because planes at a
/// multiple of 4096 bytes would fall into the same cache sets (transforms five times slower).
inline std::size_t plane_stride(std::size_t floats) {
    constexpr std::size_t line = 16;
    return ((floats + line - 1) / line | 1) * line;
}

/// Blocks of nearly equal size instead of full ones and a poor remainder: block i of `count` tiles
/// in `blocks` parts.
struct TileBlock {
    int start, count;
};
inline int block_count(int tiles, int largest) { return (tiles + largest - 1) / largest; }
inline TileBlock tile_block(int tiles, int blocks, int i) {
    const int small = tiles / blocks, large = tiles % blocks;
    return {i * small + (i < large ? i : large), small + (i < large ? 1 : 0)};
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
