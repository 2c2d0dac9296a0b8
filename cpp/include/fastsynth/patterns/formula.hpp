// Formula: a program for a stack machine, made from an expression (python/fastsynth/patterns/
// expression.py), that gives a number at each point (x, y).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fastsynth/patterns/field.hpp"

namespace fastsynth {

// FASTSYNTH_OPERATION(name, number of operands). The parser takes names and numbers from here.
// First what has syntax of its own, then the functions that are called by name.
#define FASTSYNTH_OPERATIONS(FASTSYNTH_OPERATION) \
    FASTSYNTH_OPERATION(constant, 0)              \
    FASTSYNTH_OPERATION(x, 0)                     \
    FASTSYNTH_OPERATION(y, 0)                     \
    FASTSYNTH_OPERATION(r, 0)                     \
    FASTSYNTH_OPERATION(theta, 0)                 \
    FASTSYNTH_OPERATION(t, 0)                     \
    FASTSYNTH_OPERATION(negate, 1)                \
    FASTSYNTH_OPERATION(not_, 1)                  \
    FASTSYNTH_OPERATION(add, 2)                   \
    FASTSYNTH_OPERATION(subtract, 2)              \
    FASTSYNTH_OPERATION(multiply, 2)              \
    FASTSYNTH_OPERATION(divide, 2)                \
    FASTSYNTH_OPERATION(less, 2)                  \
    FASTSYNTH_OPERATION(less_equal, 2)            \
    FASTSYNTH_OPERATION(equal, 2)                 \
    FASTSYNTH_OPERATION(not_equal, 2)             \
    FASTSYNTH_OPERATION(and_, 2)                  \
    FASTSYNTH_OPERATION(or_, 2)                   \
    FASTSYNTH_OPERATION(integer_power, 1)         \
    FASTSYNTH_OPERATION(where, 3)                 \
    FASTSYNTH_OPERATION(abs, 1)                   \
    FASTSYNTH_OPERATION(sign, 1)                  \
    FASTSYNTH_OPERATION(floor, 1)                 \
    FASTSYNTH_OPERATION(ceil, 1)                  \
    FASTSYNTH_OPERATION(round, 1)                 \
    FASTSYNTH_OPERATION(fract, 1)                 \
    FASTSYNTH_OPERATION(sqrt, 1)                  \
    FASTSYNTH_OPERATION(exp, 1)                   \
    FASTSYNTH_OPERATION(log, 1)                   \
    FASTSYNTH_OPERATION(log2, 1)                  \
    FASTSYNTH_OPERATION(sin, 1)                   \
    FASTSYNTH_OPERATION(cos, 1)                   \
    FASTSYNTH_OPERATION(tan, 1)                   \
    FASTSYNTH_OPERATION(asin, 1)                  \
    FASTSYNTH_OPERATION(acos, 1)                  \
    FASTSYNTH_OPERATION(atan, 1)                  \
    FASTSYNTH_OPERATION(sinh, 1)                  \
    FASTSYNTH_OPERATION(cosh, 1)                  \
    FASTSYNTH_OPERATION(tanh, 1)                  \
    FASTSYNTH_OPERATION(min, 2)                   \
    FASTSYNTH_OPERATION(max, 2)                   \
    FASTSYNTH_OPERATION(mod, 2)                   \
    FASTSYNTH_OPERATION(pow, 2)                   \
    FASTSYNTH_OPERATION(atan2, 2)                 \
    FASTSYNTH_OPERATION(hypot, 2)                 \
    FASTSYNTH_OPERATION(step, 2)                  \
    FASTSYNTH_OPERATION(noise, 2)                 \
    FASTSYNTH_OPERATION(fbm, 2)                   \
    FASTSYNTH_OPERATION(clamp, 3)                 \
    FASTSYNTH_OPERATION(mix, 3)                   \
    FASTSYNTH_OPERATION(smoothstep, 3)

enum class Operation : std::int32_t {
#define FASTSYNTH_OPERATION(name, operands) name,
    FASTSYNTH_OPERATIONS(FASTSYNTH_OPERATION)
#undef FASTSYNTH_OPERATION
        count
};

struct OperationInfo {
    const char* name;
    int operands;
};

/// Name and number of operands of each operation, in order.
const std::vector<OperationInfo>& operations();

struct Instruction {
    Operation operation;
    std::int32_t argument;  // constant: its index; integer_power: the exponent
};

/// A checked program. Throws std::invalid_argument for one that is not well formed.
class Formula {
  public:
    static constexpr int max_depth = 256;

    Formula(std::vector<Instruction> program, std::vector<double> constants);

    /// Values at n points, any n.
    void evaluate(const double* x, const double* y, std::size_t n, double t, std::uint64_t seed,
                  double* out) const;

  private:
    std::vector<Instruction> program_;
    std::vector<double> constants_;
    std::size_t depth_;
};

/// One formula through a palette: (value - low) / (high - low), cut to [0, 1] or repeated.
class PaletteFormula final : public Field {
  public:
    PaletteFormula(Formula formula, double t, std::uint64_t seed, double low, double high,
                   bool repeat, Palette palette);
    void shade(const double* x, const double* y, std::size_t n, float* rgb) const override;

  private:
    Formula formula_;
    double t_;
    std::uint64_t seed_;
    double low_, high_;
    bool repeat_;
    Palette palette_;
};

/// Three formulas as sRGB values in [0, 1].
class ColorFormula final : public Field {
  public:
    ColorFormula(std::vector<Formula> channels, double t, std::uint64_t seed);
    void shade(const double* x, const double* y, std::size_t n, float* rgb) const override;

  private:
    std::vector<Formula> channels_;
    double t_;
    std::uint64_t seed_;
};

}  // namespace fastsynth
