// Vectors of floats for the kernels, by compiler vector types: one source for AVX-512, AVX2 and everything else (SSE, NEON).
// Only *.isa.cpp files include this; each is compiled once per kernel set, into the namespace FASTSYNTH_KERNEL_SET.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

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
typedef double Doubles __attribute__((vector_size(lanes * sizeof(double))));

inline Floats load(const float* p) {
    Floats v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
inline Floats broadcast(float x) { return x - Floats{}; }
inline Doubles widen(Floats v) { return __builtin_convertvector(v, Doubles); }

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
