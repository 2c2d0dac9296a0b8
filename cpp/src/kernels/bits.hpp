// Masks as bits, one per lane, and a few things that compiler vector types lack. Beside simd.hpp;
// *.isa.cpp files only.
#pragma once

#include <utility>

#include "simd.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

#if defined(__AVX512F__)
typedef std::uint16_t Bits;
#else
typedef std::uint8_t Bits;
#endif

inline Bits load_bits(const std::uint8_t* p, std::size_t index) {
    Bits bits;
    std::memcpy(&bits, p + index * sizeof bits, sizeof bits);
    return bits;
}
inline void store_bits(std::uint8_t* p, std::size_t index, Bits bits) {
    std::memcpy(p + index * sizeof bits, &bits, sizeof bits);
}

/// Bit i of the result says whether a[i] >= b[i] (`at_least`) or a[i] > 0 (`positive`); false for
/// NaN.
#if defined(__AVX512F__)
inline Bits at_least(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
inline Bits positive(Floats a) { return _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ); }
#elif defined(__AVX2__)
inline Bits at_least(Floats a, Floats b) {
    return static_cast<Bits>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
}
inline Bits positive(Floats a) {
    return static_cast<Bits>(_mm256_movemask_ps(_mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ)));
}
#else
inline Bits pack_bits(Ints truth) {  // truth: 0 or -1 in each lane
    const Ints weight = {1, 2, 4, 8};
    const Ints bits = truth & weight;
    return static_cast<Bits>(bits[0] | bits[1] | bits[2] | bits[3]);
}
inline Bits at_least(Floats a, Floats b) { return pack_bits(a >= b); }
inline Bits positive(Floats a) { return pack_bits(a > Floats{}); }
#endif

/// v where the bit is set, 0 elsewhere.
inline Floats select(Bits bits, Floats v) {
#if defined(__AVX512F__)
    return _mm512_maskz_mov_ps(bits, v);
#else
#if defined(__AVX2__)
    const Ints weight = {1, 2, 4, 8, 16, 32, 64, 128};
#else
    const Ints weight = {1, 2, 4, 8};
#endif
    const Ints set = (Ints{} + bits) & weight;
    return reinterpret_cast<Floats>((set == weight) & reinterpret_cast<Ints>(v));
#endif
}

/// max(0, v), but NaN stays NaN: a picture that went astray must not look healthy.
inline Floats relu(Floats v) { return Floats{} > v ? Floats{} : v; }
inline Floats maximum(Floats a, Floats b) { return a > b ? a : b; }

/// Σ of all lanes, added by halves.
inline float sum_lanes(Floats v) {
#if defined(__AVX2__)
#if defined(__AVX512F__)
    // (The masked form keeps GCC 12 from a false warning; a full mask costs next to nothing.)
    const __m256 eight = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, v, 0),
                                       _mm512_maskz_extractf32x8_ps(0xff, v, 1));
#else
    const __m256 eight = v;
#endif
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
    return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}

/// Lane l of the result has a[l] + a[l ^ step], or the same of b where l & step.
template <int step, int... l>
FASTSYNTH_INLINE Floats add_neighbours(Floats a, Floats b, std::integer_sequence<int, l...>) {
    return shuffle<l + (l & step ? lanes : 0)...>(a, b) +
           shuffle<(l ^ step) + (l & step ? lanes : 0)...>(a, b);
}

/// Lane k of the result is the sum of the lanes of v[k]; v is used up.
template <int step = 1>
FASTSYNTH_INLINE Floats sum_each(Floats (&v)[lanes]) {
    if constexpr (step == lanes) {
        return v[0];
    } else {
        FASTSYNTH_UNROLL for (int k = 0; k < lanes / (2 * step); ++k) v[k] =
            add_neighbours<step>(v[2 * k], v[2 * k + 1], std::make_integer_sequence<int, lanes>());
        return sum_each<2 * step>(v);
    }
}

/// Writes past the caches. p is aligned to a vector. Call `fence` before other threads may read.
inline void stream(float* p, Floats v) {
#if defined(__AVX512F__)
    _mm512_stream_ps(p, v);
#elif defined(__AVX2__)
    _mm256_stream_ps(p, v);
#else
    store(p, v);
#endif
}
inline void fence() {
#if defined(__AVX2__)
    _mm_sfence();
#endif
}

/// Keeps v in a register: without it GCC repeats a broadcast from memory in each multiply-add that
/// uses it.
inline void keep(Floats& v) {
#if defined(__AVX512F__)
    asm("" : "+v"(v));
#elif defined(__x86_64__)
    asm("" : "+x"(v));
#elif defined(__aarch64__)
    asm("" : "+w"(v));
#else
    static_cast<void>(v);
#endif
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
