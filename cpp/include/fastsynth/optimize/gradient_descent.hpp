#pragma once

#include "fastsynth/optimize/optimizer.hpp"

namespace fastsynth {

struct GradientDescentSettings {
    double step = 1.0;       // δ
    double momentum = 0.0;   // μ in [0, 1)
    bool normalize = false;  // divide the gradient by its mean |g|, so that δ is in units of x
};

/// Eq. 10, N ← N + δ G_L with G_L = -∂L/∂N. With momentum: V ← μ V + G, N ← N + δ V.
class GradientDescent final : public Optimizer {
  public:
    explicit GradientDescent(const GradientDescentSettings& settings);

    const char* name() const override { return "gd"; }
    void start(std::size_t size) override;
    Outcome iterate(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool) override;
    void visit(Archive& archive) override;

  private:
    GradientDescentSettings settings_;
    Buffer<float> gradient_;
    Buffer<float> velocity_;  // empty without momentum
};

}  // namespace fastsynth
