#pragma once

#include <cstdint>

#include "fastsynth/optimize/optimizer.hpp"

namespace fastsynth {

struct AdamSettings {
    double learning_rate = 0.02;  // in units of x: 0.02 is 5 of 255 grey levels
    double beta1 = 0.9;           // decay of the mean of the gradient
    double beta2 = 0.99;          // decay of the mean of its square
    double epsilon = 1e-8;
    double average = 0.0;  // decay of the running average of the iterates; 0 keeps none
};

/// Adam (Kingma & Ba 2015, algorithm 1):
///
///     m ← β1 m + (1-β1) g,   v ← β2 v + (1-β2) g²,
///     x ← x - η (m / (1-β1^t)) / (√(v / (1-β2^t)) + ε)
///
/// and, where asked for, the average a ← γ a + (1-γ) x of the iterates, begun at the first of them.
class Adam final : public Optimizer {
  public:
    explicit Adam(const AdamSettings& settings);

    const char* name() const override { return "adam"; }
    void start(std::size_t size) override;
    Outcome iterate(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool) override;
    void visit(Archive& archive) override;
    const float* average() const override { return steps_ > 0 ? average_.data() : nullptr; }

  private:
    AdamSettings settings_;
    Buffer<float> gradient_, mean_, square_, average_;
    std::int64_t steps_ = 0;
};

}  // namespace fastsynth
