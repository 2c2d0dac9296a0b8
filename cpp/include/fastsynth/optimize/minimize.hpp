// The update loop: evaluates, records, reports, and knows when to end.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/parallel.hpp"
#include "fastsynth/objective/objective.hpp"
#include "fastsynth/optimize/optimizer.hpp"

namespace fastsynth {

enum class StopReason {
    evaluations,  // Rules::max_evaluations
    iterations,   // Rules::max_iterations
    time,         // Rules::time_limit
    plateau,      // the loss hardly falls any more
    gradient,     // max |∂f/∂x_i| is at most Rules::gradient_tolerance
    line_search,  // no lower point can be found, also for want of precision
    cancelled,    // by the flag or the progress callback
    interrupted,  // by Stop{interrupted} from a hook or the objective, e.g. Ctrl-C
};

/// "evaluations", "iterations", "time", "plateau", "gradient", "line-search", "cancelled",
/// "interrupted".
const char* name_of(StopReason reason);

/// Thrown by a hook or an objective to end a run in good order.
struct Stop {
    StopReason reason;
};

/// When to end. All counts are of the whole run, restored parts included.
struct Rules {
    static constexpr std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();
    std::int64_t max_evaluations = unlimited;
    std::int64_t max_iterations = unlimited;
    double time_limit = std::numeric_limits<double>::infinity();  // seconds
    std::int64_t plateau_window = 10;  // evaluations in which the best loss must fall ...
    double plateau_drop = 0.01;        // ... by this share of itself; 0 turns the rule off
    double gradient_tolerance = 0.0;
};

/// One entry per evaluation; entry i is evaluation i + 1.
struct History {
    std::vector<double> iteration;  // iterations that were complete before
    std::vector<double> seconds;    // from the start of the run to the end of the evaluation
    std::vector<double> loss;
    std::vector<double> parts;  // (evaluations, parts), row by row
};

class Minimization;

struct Hooks {
    /// Called when an iteration is complete; false cancels.
    std::function<bool(const Minimization&)> progress;
    /// Seconds between two calls of `progress` at least. The last iteration is always reported.
    double interval = 0.0;
    /// Called before each evaluation; may throw Stop.
    std::function<void()> poll;
    /// Looked at before each evaluation.
    const std::atomic<bool>* cancel = nullptr;
};

/// One run of an optimiser on an objective. Between two iterations, as in the progress callback, it
/// can be saved; restored, it goes on bit for bit as if it had never stopped.
class Minimization {
  public:
    Minimization(std::shared_ptr<Objective> objective, std::shared_ptr<Optimizer> optimizer,
                 std::shared_ptr<ThreadPool> pool, const float* x, std::size_t size);
    ~Minimization();

    /// Iterates until a rule or a hook ends the run. May be called again with other rules. Throws
    /// DivergenceError for a loss or gradient that is not finite and cannot be stepped back from;
    /// best() is then the last good point.
    StopReason run(const Rules& rules, const Hooks& hooks = {});

    /// The point with the least loss of all that were evaluated; before the first, the start. Of an
    /// optimiser that ends at the last iterate: that one.
    const Buffer<float>& best() const { return optimizer_->ends_at_last() ? x_ : best_; }
    double best_loss() const { return best_loss_; }  // infinite before the first evaluation

    std::int64_t iterations() const { return iterations_; }
    std::int64_t evaluations() const { return static_cast<std::int64_t>(history_.loss.size()); }
    double seconds() const;
    const History& history() const { return history_; }
    const Objective& objective() const { return *objective_; }
    const Optimizer& optimizer() const { return *optimizer_; }

    /// Saves or restores everything but the objective and the settings of the optimiser. What a
    /// line search that did not end has evaluated is not part of the state: it will be repeated.
    void visit(Archive& archive);

    /// Gives up everything but best() and the history; the run cannot go on.
    void release();

  private:
    class Evaluation;
    bool on_plateau(const Rules& rules) const;
    void record(double loss, const float* x);

    std::shared_ptr<Objective> objective_;
    std::shared_ptr<Optimizer> optimizer_;
    std::shared_ptr<ThreadPool> pool_;
    Buffer<float> x_, best_;
    double best_loss_ = std::numeric_limits<double>::infinity();
    std::vector<double> best_so_far_;  // best loss after each evaluation
    std::int64_t iterations_ = 0;
    std::int64_t settled_ = 0;      // evaluations that belong to complete iterations
    double settled_seconds_ = 0.0;  // when the last iteration was complete
    double earlier_ = 0.0;          // seconds of earlier calls of run
    double begun_ = -1.0;           // on the steady clock; negative while not running
    History history_;
};

}  // namespace fastsynth
