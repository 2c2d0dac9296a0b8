#include "fastsynth/optimize/minimize.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {
namespace {

double now() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

void check(const Rules& rules) {
    require(rules.max_evaluations >= 1, "max_evaluations must be at least 1, not ",
            rules.max_evaluations);
    require(rules.max_iterations >= 1, "max_iterations must be at least 1, not ",
            rules.max_iterations);
    require(rules.time_limit >= 0, "time_limit must not be negative, but is ", rules.time_limit);
    require(rules.plateau_window >= 1, "plateau_window must be at least 1 evaluation, not ",
            rules.plateau_window);
    require(rules.plateau_drop >= 0 && rules.plateau_drop < 1,
            "plateau_drop must lie in [0, 1), not ", rules.plateau_drop);
    require(rules.gradient_tolerance >= 0, "gradient_tolerance must not be negative, but is ",
            rules.gradient_tolerance);
}

}  // namespace

const char* name_of(StopReason reason) {
    switch (reason) {
        case StopReason::evaluations:
            return "evaluations";
        case StopReason::iterations:
            return "iterations";
        case StopReason::time:
            return "time";
        case StopReason::plateau:
            return "plateau";
        case StopReason::gradient:
            return "gradient";
        case StopReason::line_search:
            return "line-search";
        case StopReason::cancelled:
            return "cancelled";
        default:
            return "interrupted";
    }
}

/// What the optimiser sees of the run.
class Minimization::Evaluation final : public Evaluator {
  public:
    Evaluation(Minimization& run, const Rules& rules, const Hooks& hooks)
        : run_(run), rules_(rules), hooks_(hooks) {}

    Sample evaluate(const float* x, float* gradient) override {
        if (hooks_.cancel && hooks_.cancel->load()) throw Stop{StopReason::cancelled};
        if (hooks_.poll) hooks_.poll();
        if (run_.evaluations() >= rules_.max_evaluations) throw Stop{StopReason::evaluations};
        // However short the time: one evaluation, so that there is a result.
        if (run_.evaluations() > 0 && run_.seconds() >= rules_.time_limit)
            throw Stop{StopReason::time};
        Sample sample;
        sample.value = run_.objective_->evaluate(x, gradient);
        sample.max_gradient = max_abs(gradient, run_.x_.size(), *run_.pool_);
        last_ = sample;
        run_.record(sample.finite() ? sample.value : NAN, x);
        return sample;
    }

    bool stationary(const Sample& sample) const override {
        return sample.max_gradient <= rules_.gradient_tolerance;
    }

    [[noreturn]] void diverged() const override {
        std::ostringstream text;
        if (std::isfinite(last_.value))
            text << "the gradient is not finite";
        else
            text << "the loss is " << last_.value;
        text << " at evaluation " << run_.evaluations();
        if (std::isfinite(run_.best_loss_))
            text << "; the last good loss was " << run_.best_loss_
                 << ". Take a smaller step or learning rate, or start from another image";
        else
            text << ", the first: start from an image and weights without infinite values";
        throw DivergenceError(text.str());
    }

  private:
    Minimization& run_;
    const Rules& rules_;
    const Hooks& hooks_;
    Sample last_;
};

Minimization::Minimization(std::shared_ptr<Objective> objective,
                           std::shared_ptr<Optimizer> optimizer, std::shared_ptr<ThreadPool> pool,
                           const float* x, std::size_t size)
    : objective_(std::move(objective)), optimizer_(std::move(optimizer)), pool_(std::move(pool)) {
    require(size == objective_->size(), "x has ", size, " values; the objective has ",
            objective_->size(), " variables");
    x_.resize(size);
    best_.resize(size);
    require(fastsynth::is_finite(x, size, *pool_), "x has values that are not finite");
    std::memcpy(x_.data(), x, size * sizeof(float));
    std::memcpy(best_.data(), x, size * sizeof(float));
    optimizer_->start(size);
}

Minimization::~Minimization() = default;

double Minimization::seconds() const { return earlier_ + (begun_ < 0 ? 0.0 : now() - begun_); }

void Minimization::record(double loss, const float* x) {
    history_.iteration.push_back(static_cast<double>(iterations_));
    history_.seconds.push_back(seconds());
    history_.loss.push_back(loss);
    const auto& parts = objective_->values();
    history_.parts.insert(history_.parts.end(), parts.begin(), parts.end());
    if (loss < best_loss_) {
        best_loss_ = loss;
        std::memcpy(best_.data(), x, best_.size() * sizeof(float));
    }
    best_so_far_.push_back(best_loss_);
}

bool Minimization::on_plateau(const Rules& rules) const {
    const auto window = static_cast<std::size_t>(rules.plateau_window);
    if (rules.plateau_drop <= 0 || best_so_far_.size() <= window) return false;
    const double before = best_so_far_[best_so_far_.size() - 1 - window];
    return before - best_loss_ < rules.plateau_drop * std::fabs(before);
}

StopReason Minimization::run(const Rules& rules, const Hooks& hooks) {
    check(rules);
    Evaluation evaluation(*this, rules, hooks);
    begun_ = now();
    // The clock stops however this function is left.
    struct Clock {
        Minimization& run;
        ~Clock() {
            run.earlier_ = run.seconds();
            run.begun_ = -1.0;
        }
    } clock{*this};

    std::int64_t reported = iterations_;
    double reported_at = -std::numeric_limits<double>::infinity();
    const auto report = [&] {
        reported = iterations_;
        reported_at = seconds();
        return hooks.progress(*this);
    };
    StopReason reason;
    try {
        for (;;) {
            if (iterations_ >= rules.max_iterations) throw Stop{StopReason::iterations};
            if (on_plateau(rules)) throw Stop{StopReason::plateau};
            const Outcome outcome = optimizer_->iterate(x_, evaluation, *pool_);
            if (outcome == Outcome::stationary) throw Stop{StopReason::gradient};
            if (outcome == Outcome::stuck) throw Stop{StopReason::line_search};
            ++iterations_;
            settled_ = evaluations();
            settled_seconds_ = seconds();
            if (hooks.progress && settled_seconds_ >= reported_at + hooks.interval && !report())
                throw Stop{StopReason::cancelled};
        }
    } catch (const Stop& stop) {
        reason = stop.reason;
    }
    if (hooks.progress && reported != iterations_) report();
    return reason;
}

void Minimization::release() {
    if (optimizer_->ends_at_last()) return;
    optimizer_->start(0);
    x_.resize(0);
}

void Minimization::visit(Archive& archive) {
    archive.label("version", "1");
    archive.count("iterations", iterations_);
    archive.floats("x", x_);
    archive.floats("best", best_);
    archive.number("best_loss", best_loss_);
    if (archive.restoring()) {
        require(iterations_ >= 0, "iterations must not be negative, but is ", iterations_);
        archive.number("seconds", earlier_);
        archive.doubles("history_iteration", history_.iteration);
        archive.doubles("history_seconds", history_.seconds);
        archive.doubles("history_loss", history_.loss);
        archive.doubles("history_parts", history_.parts);
        const std::size_t count = history_.loss.size();
        require(history_.iteration.size() == count && history_.seconds.size() == count &&
                    history_.parts.size() == count * objective_->names().size(),
                "the history of the state does not fit ", objective_->names().size(), " parts");
        settled_ = static_cast<std::int64_t>(count);
        settled_seconds_ = earlier_;
        best_so_far_.clear();
        double best = std::numeric_limits<double>::infinity();
        for (double loss : history_.loss) {
            if (loss < best) best = loss;
            best_so_far_.push_back(best);
        }
    } else {
        const auto settled = [&](const std::vector<double>& all, std::size_t columns) {
            return std::vector<double>(all.begin(),
                                       all.begin() + static_cast<std::ptrdiff_t>(settled_) *
                                                         static_cast<std::ptrdiff_t>(columns));
        };
        History known{settled(history_.iteration, 1), settled(history_.seconds, 1),
                      settled(history_.loss, 1),
                      settled(history_.parts, objective_->names().size())};
        archive.number("seconds", settled_seconds_);
        archive.doubles("history_iteration", known.iteration);
        archive.doubles("history_seconds", known.seconds);
        archive.doubles("history_loss", known.loss);
        archive.doubles("history_parts", known.parts);
    }
    optimizer_->visit(archive);
}

}  // namespace fastsynth
