// F(4×4, 3×3) in float32 with fewer multiplications: for processors whose additions have pipes of
// their own beside the multiply-adds (AMD's Zen 4 and later), which the plain micro-kernel leaves
// idle.
//
// Two terms of a sum of products cost one multiplication and two additions (S. Winograd, "A New
// Algorithm for Inner Product", 1968):
//     x₁ y₁ + x₂ y₂ = (x₁ + y₂)(x₂ + y₁) - x₁ x₂ - y₁ y₂
// where x₁ x₂ belongs to a tile, whatever the output channel, and y₁ y₂ to an output channel,
// whatever the tile: each is summed once. With two thirds of all pairs written so and the others as
// usual, additions and multiply-adds take equally long and 12 terms take 8 instructions of each
// kind, at the same time: 173 GFLOP/s a core where multiply-adds alone end at 117 (Zen 4, 3.7 GHz).
//
// Which terms: of the two vectors of output channels, the first takes all pairs so, the second
// those of every third channel. Pairs are a channel c of an even block and the same lane of the
// next block.
//
// Rounding errors follow |x|² + |y|² rather than |x| |y|, so x and y must be of one size. Each tile
// of V is scaled by a power of two that brings its RMS to the weights' (winograd_scales.hpp), and
// scaled back at the end. And x₁ x₂ must not add up: channels have means. So every other block's
// channels change their signs at random, in V and in U. What is left is an error of 1.3 to 1.8
// times that of plain products, by layer (bench/README.md).
//
// A tile of zeros still gives zeros: the sum of y₁ y₂ is formed in the order of the products, and
// equals theirs to the bit.
#include <cmath>

#include "pairs.hpp"
#include "winograd_convolve.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

/// Channels of a block whose pairs the second vector of outputs takes Winograd's way.
constexpr bool is_third(int c) { return c % 3 == 2; }
constexpr Bits third_bits() {
    unsigned bits = 0;
    for (int c = 0; c < lanes; ++c) bits |= unsigned(is_third(c)) << c;
    return static_cast<Bits>(bits);
}

/// What the next call will read, fetched to L2 meanwhile: the processor's own prefetching ends with
/// each page of 4 KiB, and memory is ten times as far as these products can wait.
struct Ahead {
    const float *V, *U;
    static constexpr int lines = 2;  // of each, in a step: half of U in a call, and all of V
    FASTSYNTH_INLINE void step() {
        FASTSYNTH_UNROLL for (int i = 0; i < lines; ++i) {
            __builtin_prefetch(U + i * lanes, 0, 2);
            __builtin_prefetch(V + i * lanes, 0, 2);
        }
        U += lines * lanes;
        V += lines * lanes;
    }
};

/// One channel c of both blocks for N tiles. V: of the first block; `next`: to the second's. U:
/// both rows.
template <int N, bool both>
FASTSYNTH_INLINE void multiply_pair(const float* V, std::size_t next, const float* U, Ahead& ahead,
                                    Floats (&sums)[N][pack_vectors]) {
    ahead.step();
    const Floats a0 = load(U), a1 = load(U + lanes);
    const Floats b0 = load(U + out_pack), b1 = load(U + out_pack + lanes);
    FASTSYNTH_UNROLL for (int t = 0; t < N; ++t) {
        const float &x = V[t * lanes], &y = V[next + t * lanes];
        sums[t][0] += add_broadcast(b0, x) * add_broadcast(a0, y);
        if constexpr (both) {
            sums[t][1] += add_broadcast(b1, x) * add_broadcast(a1, y);
        } else {
            multiply_add_broadcast(sums[t][1], a1, x);
            multiply_add_broadcast(sums[t][1], b1, y);
        }
    }
}

/// As multiply_block (microkernel.hpp). After the last channel's, U has a row of what to subtract.
template <int N>
__attribute__((noinline)) void multiply_pairs(const float* V, const float* U, int in_blocks,
                                              float* M, bool adds, const float* next_V,
                                              const float* next_U) {
    Ahead ahead{next_V, next_U};
    Floats sums[N][pack_vectors];
    FASTSYNTH_UNROLL for (int t = 0; t < N; ++t)
        FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) sums[t][j] = Floats{};
    if (adds) load_sums(M, sums);
    constexpr std::size_t next = N * lanes;
    int block = 0;
    for (; block + 1 < in_blocks; block += 2, V += 2 * next) {
        // Not unrolled further: what is beside each other here fits the window of instructions.
        _Pragma("GCC unroll 1") for (int c = 0; c + 2 < lanes; c += 3, U += 6 * out_pack) {
            multiply_pair<N, is_third(0)>(V + c, next, U, ahead, sums);
            multiply_pair<N, is_third(1)>(V + c + 1, next, U + 2 * out_pack, ahead, sums);
            multiply_pair<N, is_third(2)>(V + c + 2, next, U + 4 * out_pack, ahead, sums);
        }
        static_assert(lanes % 3 == 1, "one channel is left");
        multiply_pair<N, false>(V + lanes - 1, next, U, ahead, sums);
        U += 2 * out_pack;
    }
    const float* y_y = U + (block < in_blocks ? lanes * out_pack : 0);
    FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j)
        FASTSYNTH_UNROLL for (int t = 0; t < N; ++t) sums[t][j] -= load(y_y + j * lanes);
    if (block < in_blocks)
        _Pragma("GCC unroll 1") for (int c = 0; c < lanes; ++c, U += out_pack)
            FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) {
            const Floats u = load(U + j * lanes);
            FASTSYNTH_UNROLL for (int t = 0; t < N; ++t)
                multiply_add_broadcast(sums[t][j], u, V[t * lanes + c]);
        }
    FASTSYNTH_UNROLL for (int t = 0; t < N; ++t)
        FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j)
            store(M + t * out_pack + j * lanes, sums[t][j]);
}

template <int... I>
constexpr std::array<MultiplyBlock, sizeof...(I) + 1> make_pairs_table(
    std::integer_sequence<int, I...>) {
    return {nullptr, multiply_pairs<I + 1>...};
}

/// Products by pairs; members as Single's.
struct Paired {
    static constexpr int words = lanes;
    static constexpr int tiles = 12;  // more do not fit the registers, with four vectors of U
    static constexpr int extra_rows = 1;
    static constexpr bool is_paired = true;
    static constexpr auto multiply = make_pairs_table(std::make_integer_sequence<int, tiles>());
    /// Lanes whose pairs the second vector of outputs takes Winograd's way.
    static constexpr Bits second_lanes = third_bits();

    static FASTSYNTH_INLINE void put(float* V, Floats v) { store(V, v); }

    /// Whether channel `lane` of block `block` changes its sign: bits of a multiplicative hash, for
    /// the second block of each pair.
    static bool is_negative(int block, int lane) {
        return block % 2 == 1 && (static_cast<std::uint32_t>(block) * 0x9e3779b9u >> lane & 1u);
    }

    static constexpr std::size_t channel(int row, int channels) {
        return paired_channel(static_cast<std::size_t>(row), static_cast<std::size_t>(channels));
    }

    /// Changes signs in U of one point, [channels][out_pack] from block `first` on, and appends the
    /// row that multiply_pairs subtracts: Σ y₁ y₂ over the pairs of each vector of outputs.
    static void finish_weights(float* U, int first, int channels) {
        Floats y_y[pack_vectors] = {};
        for (int block = 0; (block + 2) * lanes <= channels; block += 2)
            for (int c = 0; c < lanes; ++c) {
                float* a = U + (block * lanes + 2 * c) * out_pack;
                float* b = a + out_pack;
                for (int j = 0; j < pack_vectors; ++j) {
                    if (is_negative(first + block + 1, c))
                        store(b + j * lanes, -load(b + j * lanes));
                    if (j == 0 || is_third(c)) y_y[j] += load(b + j * lanes) * load(a + j * lanes);
                }
            }
        for (int j = 0; j < pack_vectors; ++j)
            store(U + std::size_t(channels) * out_pack + j * lanes, y_y[j]);
    }

    /// +1 or -1 for each channel of a block of V; all +1 if the block has no partner.
    static Floats signs(int block, int in_blocks) {
        Floats result;
        for (int lane = 0; lane < lanes; ++lane)
            result[lane] = is_negative(block, lane) && block < in_blocks / 2 * 2 ? -1.0f : 1.0f;
        return result;
    }

    /// The power of two that brings V of a tile to the size of the weights. U of random kernels
    /// would have 0.56 of their RMS; pictures are smoother than noise, which leaves V uneven: 0.45
    /// had the least error over the layers of VGG16, forward and backward.
    static float scale(double mean_square, double weights_rms) {
        const double squared = 0.45 * 0.45 * weights_rms * weights_rms / mean_square;
        // Zeros, or no numbers at all.
        if (!(squared > 0.0) || !std::isfinite(squared)) return 1.0f;
        // ⌊log₂(2 s²) / 2⌋ is log₂ s, rounded.
        const int twice = std::ilogb(2.0 * squared);
        const int exponent = twice >= 0 ? twice / 2 : (twice - 1) / 2;
        return std::ldexp(1.0f, exponent < -100 ? -100 : exponent > 100 ? 100 : exponent);
    }
};

}  // namespace

extern const WinogradKernels winograd4_pairs;
const WinogradKernels winograd4_pairs = make_kernels<4, Paired>();

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
