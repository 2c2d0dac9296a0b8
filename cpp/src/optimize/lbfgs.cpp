#include "fastsynth/optimize/lbfgs.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"
#include "fastsynth/optimize/kernels.hpp"

namespace fastsynth {

LBFGS::LBFGS(const LBFGSSettings& settings) : settings_(settings) {
    require(settings.memory >= 1 && settings.memory <= 1000, "memory must be 1 to 1000 pairs, not ",
            settings.memory);
    require(std::isfinite(settings.first_step) && settings.first_step > 0,
            "first_step must be a positive number, not ", settings.first_step);
    require(settings.c1 > 0 && settings.c1 < settings.c2 && settings.c2 < 1,
            "the constants of the line search must satisfy 0 < c1 < c2 < 1, but c1 = ", settings.c1,
            " and c2 = ", settings.c2);
    require(settings.noise >= 0 && settings.noise < 1, "noise must lie in [0, 1), not ",
            settings.noise);
    require(settings.max_search >= 2, "max_search must be at least 2, not ", settings.max_search);
    require(settings.patience >= 1, "patience must be at least 1, not ", settings.patience);
}

void LBFGS::start(std::size_t size) {
    size_ = size;
    for (auto* vector : {&gradient_, &direction_, &trial_, &trial_gradient_}) vector->resize(size);
    // The pairs take their memory when they come: most levels end before all are there.
    pairs_.clear();
    pairs_.resize(static_cast<std::size_t>(settings_.memory));
    kept_ = 0;
    newest_ = -1;
    evaluated_ = false;
    move_ = 0.0;
    idle_ = 0;
}

LBFGS::Pair& LBFGS::pair(std::int64_t age) {
    const std::int64_t memory = settings_.memory;
    return pairs_[static_cast<std::size_t>((newest_ - age + memory) % memory)];
}

/// Writes d = -H g and returns the slope d·g.
///
/// Tried: the same recursion on coefficients (products of all pairs in one pass, the sum in a
/// second one), which reads the history as often but never q. It took as long at 512² and 1024²:
/// what counts is the history, and q stays in the cache.
double LBFGS::direction(ThreadPool& pool) {
    const float* g = gradient_.data();
    float* q = direction_.data();
    if (kept_ == 0) return combine_dot(-1.0f, g, 0.0f, g, g, q, size_, pool);

    // First loop, newest to oldest: a_i = s_i·q / s_i·y_i, q ← q - a_i y_i. Each pass over the
    // vectors also forms the product that the next one needs; the last one scales q by H₀ too.
    std::vector<double> a(static_cast<std::size_t>(kept_));
    double product = dot(pair(0).s.data(), g, size_, pool);
    const float* from = g;
    for (std::int64_t age = 0; age < kept_; ++age) {
        const auto i = static_cast<std::size_t>(age);
        a[i] = product / pair(age).sy;
        const bool oldest = age + 1 == kept_;
        const double h0 = oldest ? pair(0).sy / pair(0).yy : 1.0;
        const float* next = oldest ? pair(age).y.data() : pair(age + 1).s.data();
        product = combine_dot(static_cast<float>(h0), from, static_cast<float>(-h0 * a[i]),
                              pair(age).y.data(), next, q, size_, pool);
        from = q;
    }
    // Second loop, oldest to newest: b_i = y_i·q / s_i·y_i, q ← q + (a_i - b_i) s_i; at last d =
    // -q.
    for (std::int64_t age = kept_ - 1; age >= 0; --age) {
        const double rest = a[static_cast<std::size_t>(age)] - product / pair(age).sy;
        const double sign = age == 0 ? -1.0 : 1.0;
        const float* next = age == 0 ? g : pair(age - 1).y.data();
        product = combine_dot(static_cast<float>(sign), q, static_cast<float>(sign * rest),
                              pair(age).s.data(), next, q, size_, pool);
    }
    return product;
}

/// Steepest descent has no natural length: take one that moves x by a set RMS distance. `slope` is
/// -|g|². After a failure, no farther than the last iteration went.
double LBFGS::first_step(double slope) const {
    const double move = move_ > 0.0 ? std::min(settings_.first_step, move_) : settings_.first_step;
    return move * std::sqrt(static_cast<double>(size_) / -slope);
}

/// Searches along d; leaves an acceptable point in trial_*. Says whether it found one.
bool LBFGS::search(const Buffer<float>& x, double slope, double first, Evaluator& evaluator,
                   ThreadPool& pool) {
    LineSearchSettings settings;
    settings.c1 = settings_.c1;
    settings.c2 = settings_.c2;
    settings.noise = settings_.noise * std::fabs(sample_.value);
    settings.max_evaluations = settings_.max_search;
    LineSearch line(settings, sample_.value, slope, first);

    const auto evaluate_at = [&](double t) {
        move(x.data(), static_cast<float>(t), direction_.data(), trial_.data(), size_, pool);
        trial_sample_ = evaluator.evaluate(trial_.data(), trial_gradient_.data());
    };
    for (;;) {
        evaluate_at(line.step());
        double trial_slope = NAN;
        if (trial_sample_.finite())
            trial_slope = dot(trial_gradient_.data(), direction_.data(), size_, pool);
        switch (line.advance(trial_sample_.value, trial_slope)) {
            case LineSearch::Status::searching:
                break;
            case LineSearch::Status::accepted:
                return true;
            case LineSearch::Status::diverged:
                evaluator.diverged();
                break;
            case LineSearch::Status::failed:
                if (!line.progressed()) return false;
                // Not all that was asked for, but lower: go on from there.
                if (line.best().t != line.step()) evaluate_at(line.best().t);
                return trial_sample_.finite();
        }
    }
}

/// Makes s = trial - x, y = their gradients' difference the newest pair, if it bends upwards.
void LBFGS::remember(const Buffer<float>& x, ThreadPool& pool) {
    // The oldest pair's memory is used for the new one.
    const std::int64_t slot = (newest_ + 1) % settings_.memory;
    Pair& fresh = pairs_[static_cast<std::size_t>(slot)];
    if (fresh.s.empty()) {
        fresh.s.resize(size_);
        fresh.y.resize(size_);
    }
    const PairSums sums = difference(trial_.data(), x.data(), trial_gradient_.data(),
                                     gradient_.data(), fresh.s.data(), fresh.y.data(), size_, pool);
    fresh.sy = sums.sy;
    fresh.yy = sums.yy;
    move_ = std::sqrt(sums.ss / static_cast<double>(size_));
    if (sums.sy > 1e-8 * std::sqrt(sums.ss * sums.yy)) {
        newest_ = slot;
        kept_ = std::min<std::int64_t>(kept_ + 1, settings_.memory);
    } else {
        // The slot held the oldest pair of a full history: that is lost.
        kept_ = std::min<std::int64_t>(kept_, settings_.memory - 1);
    }
}

Outcome LBFGS::iterate(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool) {
    // A run that ends within an iteration leaves the state of the iteration's begin.
    const auto kept = kept_;
    const bool evaluated = evaluated_;
    try {
        return attempt(x, evaluator, pool);
    } catch (...) {
        kept_ = kept;
        evaluated_ = evaluated;
        throw;
    }
}

Outcome LBFGS::attempt(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool) {
    if (!evaluated_) {
        sample_ = evaluator.evaluate(x.data(), gradient_.data());
        if (!sample_.finite()) evaluator.diverged();
        evaluated_ = true;
        lowest_ = sample_.value;
    }
    if (evaluator.stationary(sample_)) return Outcome::stationary;
    if (idle_ >= settings_.patience) return Outcome::stuck;

    for (;;) {
        const double slope = direction(pool);
        if (slope < 0.0 && std::isfinite(slope)) {
            const double first = kept_ > 0 ? 1.0 : first_step(slope);
            if (search(x, slope, first, evaluator, pool)) break;
        }
        if (kept_ == 0) return Outcome::stuck;
        kept_ = 0;
    }
    remember(x, pool);
    std::swap(x, trial_);
    std::swap(gradient_, trial_gradient_);
    sample_ = trial_sample_;
    idle_ = sample_.value < lowest_ ? 0 : idle_ + 1;
    lowest_ = std::min(lowest_, sample_.value);
    return Outcome::moved;
}

void LBFGS::visit(Archive& archive) {
    archive.label("optimizer", name());
    archive.flag("evaluated", evaluated_);
    archive.number("value", sample_.value);
    archive.number("max_gradient", sample_.max_gradient);
    archive.floats("gradient", gradient_);
    archive.number("move", move_);
    archive.number("lowest", lowest_);
    archive.count("idle", idle_);
    archive.count("pairs", kept_);
    if (archive.restoring()) {
        require(kept_ >= 0 && kept_ <= settings_.memory, "the state has ", kept_,
                " pairs, but memory is ", settings_.memory);
        newest_ = kept_ - 1;
        for (std::int64_t i = 0; i < kept_; ++i) {
            pairs_[static_cast<std::size_t>(i)].s.resize(size_);
            pairs_[static_cast<std::size_t>(i)].y.resize(size_);
        }
    }
    for (std::int64_t age = kept_ - 1; age >= 0; --age) {  // oldest first
        Pair& p = pair(age);
        const std::string number = std::to_string(kept_ - 1 - age);
        archive.floats("s" + number, p.s);
        archive.floats("y" + number, p.y);
        archive.number("sy" + number, p.sy);
        archive.number("yy" + number, p.yy);
        require(p.sy > 0.0 && p.yy > 0.0, "pair ", number, " of the state has no curvature");
    }
}

}  // namespace fastsynth
