// FieldKernels: the inner loops of formulas and escape-time fractals. Internal to the core.
//
// They are compiled without contraction to fused multiply-adds and use functions of their own
// (kernels/wide_math.hpp) instead of a library's: every kernel set gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastsynth/patterns/formula.hpp"

namespace fastsynth {

struct EscapeRule {
    bool julia = false;
    double cx = 0, cy = 0;  // of a Julia set
    int max_iterations = 500;
    bool slope = false;  // also the direction in which the distance to the set grows
};

/// Points that a formula is evaluated at together.
constexpr std::size_t formula_block = 128;

struct FieldKernels {
    /// Iterates z ← z² + c for n points. iterations[i]: the smooth number of iterations until
    /// |z| > 2^8, or -1 where it stays bounded for max_iterations. With rule.slope, (sx, sy) is the
    /// unit vector of z / z', 0 inside; else they are not touched.
    void (*escape)(const EscapeRule& rule, const double* x, const double* y, std::size_t n,
                   double* iterations, double* sx, double* sy);

    /// Runs a program for n ≤ formula_block points; stack: formula_block × its depth. The result is
    /// at the start of the stack, for all of formula_block (what lies beyond n means nothing).
    void (*run)(const Instruction* program, std::size_t length, const double* constants,
                const double* x, const double* y, double t, std::uint64_t seed, std::size_t n,
                double* stack);
};

const FieldKernels& field_kernels();

}  // namespace fastsynth
