#pragma once

#include <cstdint>
#include <vector>

#include "fastsynth/optimize/line_search.hpp"
#include "fastsynth/optimize/optimizer.hpp"

namespace fastsynth {

struct LBFGSSettings {
    int memory = 20;           // pairs (s, y) that are kept: 2 vectors each
    double first_step = 0.01;  // RMS change of x in the first trial step, in units of x
    double c1 = 1e-4;          // enough decrease
    double c2 = 0.9;           // enough curvature
    double noise = 1e-6;       // relative rounding error of the objective's value
    int max_search = 20;       // evaluations in one line search
    int patience = 10;         // iterations without a lower value before it is stuck
};

/// Limited-memory BFGS (Nocedal 1980; Liu & Nocedal 1989) with the line search of line_search.hpp.
/// The direction is d = -H g by the two-loop recursion over the last `memory` pairs s = Δx, y = Δg,
/// from H₀ = (s·y / y·y) I. Vectors are float32, products of vectors float64.
///
/// When a search fails, the pairs are forgotten and steepest descent is tried once; when that
/// fails too, it is stuck. Most iterations take one evaluation.
class LBFGS final : public Optimizer {
  public:
    explicit LBFGS(const LBFGSSettings& settings);

    const char* name() const override { return "lbfgs"; }
    void start(std::size_t size) override;
    Outcome iterate(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool) override;
    void visit(Archive& archive) override;

  private:
    struct Pair {
        Buffer<float> s, y;
        double sy = 0.0, yy = 0.0;
    };

    Pair& pair(std::int64_t age);  // 0 is the newest
    Outcome attempt(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool);
    double direction(ThreadPool& pool);
    bool search(const Buffer<float>& x, double slope, double first, Evaluator& evaluator,
                ThreadPool& pool);
    void remember(const Buffer<float>& x, ThreadPool& pool);
    double first_step(double slope) const;

    LBFGSSettings settings_;
    std::size_t size_ = 0;
    Buffer<float> gradient_;  // at x
    Buffer<float> direction_, trial_, trial_gradient_;
    Sample sample_, trial_sample_;
    bool evaluated_ = false;  // gradient_ and sample_ belong to x
    std::vector<Pair> pairs_;
    std::int64_t kept_ = 0, newest_ = -1;
    double move_ = 0.0;  // RMS change of x in the last iteration, 0 before the first
    double lowest_ = 0.0;
    std::int64_t idle_ = 0;  // iterations since a lower value was seen
};

}  // namespace fastsynth
