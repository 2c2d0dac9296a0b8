// Vectors of floats for the kernels, by compiler vector types: one source for AVX-512, AVX2 and
// everything else (SSE, NEON). Only *.isa.cpp files include this; each is compiled once per kernel
// set, into the namespace FASTSYNTH_KERNEL_SET.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__GNUC__)
#define FASTSYNTH_INLINE inline __attribute__((always_inline))
#define FASTSYNTH_UNROLL _Pragma("GCC unroll 64")
#endif

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

#if defined(__AVX512F__)
constexpr int lanes = 16;
#elif defined(__AVX2__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif

typedef float Floats __attribute__((vector_size(lanes * sizeof(float))));
typedef std::int32_t Ints __attribute__((vector_size(lanes * sizeof(std::int32_t))));

// One register of float64 holds half as many. (A vector type wider than a register would live in
// memory.)
constexpr int wide_lanes = lanes / 2;
typedef double Doubles __attribute__((vector_size(wide_lanes * sizeof(double))));

inline Floats load(const float* p) {
    Floats v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
inline Floats broadcast(float x) { return x - Floats{}; }

/// v, not joined with a sum that it goes into to a multiply-add. Where additions have pipes of
/// their own, a product that two sums need is one instruction for the multiplying pipes then, not
/// two.
inline Floats apart(Floats v) {
#if defined(FASTSYNTH_ADDITION_PIPES)
    asm("" : "+v"(v));
#endif
    return v;
}

/// p, which the compiler does not know any more to be the value of an expression: sums with it are
/// then made where they are used, in the operands of instructions.
template <class T>
FASTSYNTH_INLINE T* hidden(T* p) {
    asm("" : "+r"(p));
    return p;
}

/// The 32-bit lanes I... of a and b together, where those of b are counted on from those of a.
template <int... I, class Vector>
inline Vector shuffle(Vector a, Vector b) {
#if defined(__clang__)  // has no __builtin_shuffle; GCC before 12 has no __builtin_shufflevector
    return __builtin_shufflevector(a, b, I...);
#else
    typedef std::int32_t Index __attribute__((vector_size(sizeof...(I) * sizeof(std::int32_t))));
    return __builtin_shuffle(a, b, Index{I...});
#endif
}

// Conversions are intrinsics where these exist: GCC splits __builtin_convertvector into smaller
// ones. (The masked forms keep GCC 12 from a false warning about the undefined source of the
// unmasked ones; a full mask costs nothing.) ones.

/// wide_lanes floats from p, as float64.
inline Doubles load_wide(const float* p) {
#if defined(__AVX512F__)
    return _mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(p));
#elif defined(__AVX2__)
    return _mm256_cvtps_pd(_mm_loadu_ps(p));
#else
    return Doubles{p[0], p[1]};
#endif
}

/// Rounds wide_lanes values to float32.
inline void store_narrow(float* p, Doubles v) {
#if defined(__AVX512F__)
    _mm256_storeu_ps(p, _mm512_maskz_cvtpd_ps(0xff, v));
#elif defined(__AVX2__)
    _mm_storeu_ps(p, _mm256_cvtpd_ps(v));
#else
    p[0] = static_cast<float>(v[0]);
    p[1] = static_cast<float>(v[1]);
#endif
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
