// F(4×4, 3×3) with products of bfloat16 numbers, added in float32: for processors with AVX512_BF16,
// whose VDPBF16PS makes two multiply-adds where an FMA makes one.
//
// Compiled once, beside the AVX-512 set, into the namespace avx512bf16. What differs from float32
// is that a 32-bit word of V or U holds two neighbouring input channels (2c in its lower half),
// each rounded to the nearest bfloat16 after the transforms: half the words, half the memory.
// Transforms, sums, bias, maps are float32. The relative error of a layer is 7.5e-3: 8 bits of
// mantissa, times what the transforms amplify (direct convolution in bfloat16 has 2.8e-3).
#include "winograd_convolve.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

/// The word at p, in all lanes.
inline __m512bh broadcast_word(const float* p) {
    int word;
    std::memcpy(&word, p, sizeof word);
    __m512i words = _mm512_set1_epi32(word);
    asm("" : "+v"(words));  // as `keep`
    return reinterpret_cast<__m512bh>(words);
}

inline __m512bh load_words(const float* p) {
    return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p));
}

/// As multiply_block (microkernel.hpp), two input channels at a time.
template <int N>
__attribute__((noinline)) void multiply_halves(const float* V, const float* U, int in_blocks,
                                               float* M, bool adds, const float*, const float*) {
    constexpr int words = lanes / 2;
    Floats sums[N][pack_vectors];
    FASTSYNTH_UNROLL for (int t = 0; t < N; ++t)
        FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) sums[t][j] = Floats{};
    if (adds) load_sums(M, sums);
    for (int block = 0; block < in_blocks; ++block, V += N * words) {
        _Pragma("GCC unroll 4") for (int c = 0; c < words; ++c, U += out_pack) {
            __m512bh u[pack_vectors];
            FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) u[j] =
                load_words(U + j * lanes);
            FASTSYNTH_UNROLL for (int t = 0; t < N; ++t) {
                const __m512bh v = broadcast_word(V + t * words + c);
                FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) sums[t][j] =
                    _mm512_dpbf16_ps(sums[t][j], v, u[j]);
            }
        }
    }
    FASTSYNTH_UNROLL for (int t = 0; t < N; ++t)
        FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j)
            store(M + t * out_pack + j * lanes, sums[t][j]);
}

template <int... I>
constexpr std::array<MultiplyBlock, sizeof...(I) + 1> make_halves_table(
    std::integer_sequence<int, I...>) {
    return {nullptr, multiply_halves<I + 1>...};
}

/// Products of bfloat16 numbers; members as Single's.
struct Half {
    static constexpr int words = lanes / 2;
    static constexpr int tiles = tile_pack;
    static constexpr int extra_rows = 0;
    static constexpr bool is_paired = false;
    static constexpr std::size_t channel(int row, int) { return 2 * static_cast<std::size_t>(row); }
    static constexpr auto multiply =
        make_halves_table(std::make_integer_sequence<int, tile_pack>());

    static FASTSYNTH_INLINE void put(float* V, Floats v) {
        const __m256bh rounded = _mm512_cvtneps_pbh(v);
        std::memcpy(V, &rounded, sizeof rounded);
    }
    static FASTSYNTH_INLINE void put_weights(float* U, Floats even, Floats odd) {
        // (The masked form keeps GCC 12 from a false warning.)
        const __m512i low = _mm512_maskz_cvtepu16_epi32(
            0xffff, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(even)));
        const __m512i high =
            _mm512_maskz_cvtepu16_epi32(0xffff, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(odd)));
        _mm512_storeu_si512(U, _mm512_or_si512(low, _mm512_maskz_slli_epi32(0xffff, high, 16)));
    }
};

}  // namespace

extern const WinogradKernels winograd4_bf16;
const WinogradKernels winograd4_bf16 = make_kernels<4, Half>();

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
