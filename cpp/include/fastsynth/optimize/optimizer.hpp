// Optimizer: how the variables move. One iteration at a time; everything that it remembers between
// iterations is its state, which can be saved, restored and continued bit for bit.
//
// To add an optimiser, derive from Optimizer, name its state in `visit`, bind it in
// bindings/bind_optimize.cpp and describe it in python/fastsynth/optimize/optimizers.py.
#pragma once

#include <cmath>
#include <cstddef>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/parallel.hpp"
#include "fastsynth/optimize/archive.hpp"

namespace fastsynth {

/// What an evaluation yields besides the gradient itself.
struct Sample {
    double value = 0.0;
    double max_gradient = 0.0;  // max |∂f/∂x_i|; NaN or infinite if any component is

    bool finite() const { return std::isfinite(value) && std::isfinite(max_gradient); }
};

/// The objective as an optimiser sees it: the update loop counts, records and limits its calls.
class Evaluator {
  public:
    virtual ~Evaluator() = default;

    /// Value and gradient at x. Throws when the run must end (limits, cancelling): an optimiser
    /// lets that pass, and has not changed x or its state since its iteration began.
    virtual Sample evaluate(const float* x, float* gradient) = 0;

    /// Whether the gradient is as small as the caller asked for.
    virtual bool stationary(const Sample& sample) const = 0;

    /// Ends the run with a DivergenceError about the last evaluation.
    [[noreturn]] virtual void diverged() const = 0;
};

enum class Outcome {
    moved,       // x is the next iterate
    stationary,  // x was left: its gradient is small enough
    stuck,       // x was left: no lower point could be found
};

class Optimizer {
  public:
    virtual ~Optimizer() = default;

    virtual const char* name() const = 0;

    /// Forgets everything and prepares for `size` variables.
    virtual void start(std::size_t size) = 0;

    /// One iteration from x to the next x.
    virtual Outcome iterate(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool) = 0;

    /// Saves or restores the state between two iterations. Call `start` before restoring.
    virtual void visit(Archive& archive) = 0;

    /// A running average of the iterates, or null where none is kept.
    virtual const float* average() const { return nullptr; }

    /// Whether a run's result is the last iterate rather than the point with the least loss.
    virtual bool ends_at_last() const { return false; }
};

}  // namespace fastsynth
