#include "fastsynth/patterns/formula.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "patterns/field_kernels.hpp"

namespace fastsynth {

const std::vector<OperationInfo>& operations() {
    static const std::vector<OperationInfo> all{
#define FASTSYNTH_OPERATION(name, operands) {#name, operands},
        FASTSYNTH_OPERATIONS(FASTSYNTH_OPERATION)
#undef FASTSYNTH_OPERATION
    };
    return all;
}

Formula::Formula(std::vector<Instruction> program, std::vector<double> constants)
    : program_(std::move(program)), constants_(std::move(constants)) {
    int depth = 0, deepest = 0;
    for (const Instruction& instruction : program_) {
        const int code = static_cast<int>(instruction.operation);
        require(code >= 0 && code < static_cast<int>(Operation::count), "there is no operation ",
                code);
        if (instruction.operation == Operation::constant)
            require(instruction.argument >= 0 &&
                        static_cast<std::size_t>(instruction.argument) < constants_.size(),
                    "there is no constant ", instruction.argument);
        if (instruction.operation == Operation::integer_power)
            require(std::abs(instruction.argument) <= 64, "an integer power is at most 64");
        const int operands = operations()[static_cast<std::size_t>(code)].operands;
        require(depth >= operands, "an operand is missing");
        depth += 1 - operands;
        deepest = std::max(deepest, depth);
    }
    require(depth == 1, "a program must leave one value");
    require(deepest <= max_depth, "the formula is too deeply nested: it needs ", deepest,
            " intermediate values, expected at most ", max_depth);
    depth_ = static_cast<std::size_t>(deepest);
}

void Formula::evaluate(const double* x, const double* y, std::size_t n, double t,
                       std::uint64_t seed, double* out) const {
    std::vector<double> stack(depth_ * formula_block);
    double px[formula_block] = {}, py[formula_block] = {};
    for (std::size_t i = 0; i < n; i += formula_block) {
        const std::size_t count = std::min(formula_block, n - i);
        std::copy_n(x + i, count, px);
        std::copy_n(y + i, count, py);
        field_kernels().run(program_.data(), program_.size(), constants_.data(), px, py, t, seed,
                            count, stack.data());
        std::copy_n(stack.data(), count, out + i);
    }
}

PaletteFormula::PaletteFormula(Formula formula, double t, std::uint64_t seed, double low,
                               double high, bool repeat, Palette palette)
    : formula_(std::move(formula)),
      t_(t),
      seed_(seed),
      low_(low),
      high_(high),
      repeat_(repeat),
      palette_(std::move(palette)) {
    require(std::isfinite(low) && std::isfinite(high) && low != high,
            "the range must be two finite numbers that differ");
}

void PaletteFormula::shade(const double* x, const double* y, std::size_t n, float* rgb) const {
    std::vector<double> values(n);
    formula_.evaluate(x, y, n, t_, seed_, values.data());
    for (std::size_t i = 0; i < n; ++i) {
        double place = (values[i] - low_) / (high_ - low_);
        if (repeat_) place -= std::floor(place);
        const Color color = palette_.at(place);
        rgb[3 * i] = color.r;
        rgb[3 * i + 1] = color.g;
        rgb[3 * i + 2] = color.b;
    }
}

ColorFormula::ColorFormula(std::vector<Formula> channels, double t, std::uint64_t seed)
    : channels_(std::move(channels)), t_(t), seed_(seed) {
    require(channels_.size() == 3, "three formulas are needed for red, green and blue, not ",
            channels_.size());
}

void ColorFormula::shade(const double* x, const double* y, std::size_t n, float* rgb) const {
    // Decoding to linear light by a table: exact at 4096 levels, linear between them.
    static const std::vector<float> decoded = [] {
        std::vector<float> table(4097);
        for (std::size_t i = 0; i < table.size(); ++i) {
            const double v = static_cast<double>(i) / 4096;
            table[i] =
                static_cast<float>(v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4));
        }
        return table;
    }();
    std::vector<double> values(n);
    for (std::size_t c = 0; c < 3; ++c) {
        channels_[c].evaluate(x, y, n, t_, seed_, values.data());
        for (std::size_t i = 0; i < n; ++i) {
            const double v = values[i] > 0 ? std::min(values[i], 1.0) * 4096 : 0.0;
            const auto below = std::min<std::size_t>(static_cast<std::size_t>(v), 4095);
            const auto part = static_cast<float>(v - static_cast<double>(below));
            rgb[3 * i + c] = decoded[below] + (decoded[below + 1] - decoded[below]) * part;
        }
    }
}

}  // namespace fastsynth
