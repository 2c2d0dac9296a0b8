#include "fastsynth/optimize/line_search.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fastsynth/common/error.hpp"

namespace fastsynth {
namespace {

using Point = LineSearch::Point;

constexpr double far_growth = 4.0;   // an unbracketed step grows at most to t + 4 (t - low)
constexpr double near_growth = 1.1;  // ... and at least to t + 1.1 (t - low)
constexpr double shrink = 0.66;      // two steps must shrink the interval to this, or it is halved

/// The stationary point of the cubic through a and b, where it has its minimum. `theta` and `gamma`
/// as in Moré & Thuente, scaled against overflow. `real` says whether the cubic has one.
struct Cubic {
    Cubic(const Point& a, const Point& b) : from(b), to(a) {
        theta = 3.0 * (a.value - b.value) / (b.t - a.t) + a.slope + b.slope;
        scale = std::max({std::fabs(theta), std::fabs(a.slope), std::fabs(b.slope)});
        const double ratio = theta / scale;
        const double inside = ratio * ratio - (a.slope / scale) * (b.slope / scale);
        real = scale > 0.0 && inside > 0.0;
        gamma = real ? scale * std::sqrt(inside) : 0.0;
        if (a.t < b.t) gamma = -gamma;
    }

    /// The minimiser, measured from `from` towards `to` as a fraction of their distance.
    double fraction() const {
        const double p = gamma - from.slope + theta;
        const double q = gamma - from.slope + gamma + to.slope;
        return p / q;
    }
    double minimizer() const { return from.t + fraction() * (to.t - from.t); }

    Point from, to;
    double theta, gamma, scale;
    bool real;
};

/// Minimiser of the parabola through a (value and slope) and b (value).
double parabola(const Point& a, const Point& b) {
    const double chord = (a.value - b.value) / (b.t - a.t);
    return a.t + a.slope / (chord + a.slope) / 2.0 * (b.t - a.t);
}

/// Where the line through both slopes is zero.
double secant(const Point& a, const Point& b) {
    return b.t + b.slope / (b.slope - a.slope) * (a.t - b.t);
}

double nearer(double t, double a, double b) { return std::fabs(a - t) < std::fabs(b - t) ? a : b; }
double farther(double t, double a, double b) { return std::fabs(a - t) > std::fabs(b - t) ? a : b; }

}  // namespace

LineSearch::LineSearch(const LineSearchSettings& settings, double value, double slope,
                       double first_step)
    : settings_(settings),
      start_{0.0, value, slope},
      low_(start_),
      high_(start_),
      wall_(std::numeric_limits<double>::infinity()),
      step_(first_step) {
    require(slope < 0.0, "the direction does not descend: its slope is ", slope);
    require(std::isfinite(first_step) && first_step > 0.0, "the first step must be positive, not ",
            first_step);
    width_ = std::numeric_limits<double>::infinity();
    old_width_ = width_;
    min_step_ = 0.0;
    max_step_ = first_step * (1.0 + far_growth);
}

bool LineSearch::progressed() const {
    return low_.t > 0.0 && low_.value <= start_.value + settings_.c1 * low_.t * start_.slope;
}

LineSearch::Status LineSearch::retreat() {
    if (++shrinks_ > settings_.max_shrinks) return low_.t > 0.0 ? Status::failed : Status::diverged;
    if (step_ > low_.t) {
        wall_ = step_;
        if (high_.t >= wall_) bracketed_ = false;
    }
    step_ = low_.t + 0.1 * (step_ - low_.t);
    return Status::searching;
}

LineSearch::Status LineSearch::advance(double value, double slope) {
    ++evaluations_;
    if (!std::isfinite(value) || !std::isfinite(slope)) return retreat();

    const Point trial{step_, value, slope};
    const double decrease = start_.value + settings_.c1 * step_ * start_.slope;
    if (value <= decrease && std::fabs(slope) <= -settings_.c2 * start_.slope)
        return Status::accepted;
    if (settings_.noise > 0.0 && value <= start_.value + settings_.noise &&
        slope <= (2.0 * settings_.c1 - 1.0) * start_.slope && slope >= settings_.c2 * start_.slope)
        return Status::accepted;
    // Beyond lies the wall: what there is on this side has to do.
    if (std::isfinite(wall_) && value <= decrease) return Status::accepted;
    if (evaluations_ >= settings_.max_evaluations) {
        if (value < low_.value) low_ = trial;
        return Status::failed;
    }

    if (hunting_ && value <= decrease && slope >= 0.0) hunting_ = false;
    if (hunting_ && value <= low_.value && value > decrease) {
        // Hunt on ψ(t) = φ(t) - φ(0) - c1 t φ'(0) instead, whose minimisers have enough decrease.
        const double tilt = settings_.c1 * start_.slope;
        const auto tilted = [tilt](Point& p, double sign) {
            p.value -= sign * tilt * p.t;
            p.slope -= sign * tilt;
        };
        Point modified = trial;
        for (Point* p : {&modified, &low_, &high_}) tilted(*p, 1.0);
        step_ = interpolate(modified);
        for (Point* p : {&low_, &high_}) tilted(*p, -1.0);
    } else {
        step_ = interpolate(trial);
    }

    if (bracketed_) {
        const double width = std::fabs(high_.t - low_.t);
        if (width >= shrink * old_width_) step_ = low_.t + 0.5 * (high_.t - low_.t);
        old_width_ = width_;
        width_ = width;
        min_step_ = std::min(low_.t, high_.t);
        max_step_ = std::max(low_.t, high_.t);
        const auto inside = [this] { return step_ > min_step_ && step_ < max_step_; };
        if (!inside()) step_ = 0.5 * (low_.t + high_.t);
        // Has the interval shrunk to the precision of t?
        if (!inside() || width <= 1e-12 * max_step_) return Status::failed;
    } else {
        min_step_ = step_ + near_growth * (step_ - low_.t);
        max_step_ = step_ + far_growth * (step_ - low_.t);
        if (step_ >= wall_) step_ = 0.5 * (low_.t + wall_);
        if (!std::isfinite(step_) || step_ == low_.t) return Status::failed;
    }
    return Status::searching;
}

/// Updates the interval by the trial point and returns the next step (section 4 of the paper).
double LineSearch::interpolate(const Point& trial) {
    const bool opposite = (trial.slope > 0.0) != (low_.slope > 0.0) && trial.slope != 0.0;
    double next;
    if (trial.value > low_.value + settings_.noise) {
        // 1. Higher: a minimiser lies between. The cubic's, unless the parabola's is much nearer
        // to low: then half-way between the two.
        const double cubic = Cubic(trial, low_).minimizer();
        const double quadratic = parabola(low_, trial);
        next = std::fabs(cubic - low_.t) < std::fabs(quadratic - low_.t)
                   ? cubic
                   : cubic + 0.5 * (quadratic - cubic);
        bracketed_ = true;
        high_ = trial;
        return next;
    }
    if (opposite) {
        // 2. Lower, and rising again: a minimiser lies between. Whichever is farther from the
        // trial.
        next = farther(trial.t, Cubic(low_, trial).minimizer(), secant(low_, trial));
        bracketed_ = true;
        high_ = low_;
    } else if (std::fabs(trial.slope) < std::fabs(low_.slope)) {
        // 3. Lower, and flatter: the cubic counts only where it rises again beyond the trial.
        const Cubic through(low_, trial);
        const double fraction = through.fraction();
        const double limit = trial.t > low_.t ? max_step_ : min_step_;
        const double cubic =
            through.real && fraction < 0.0 && std::isfinite(fraction) ? through.minimizer() : limit;
        const double linear = secant(low_, trial);
        if (bracketed_) {
            next = nearer(trial.t, cubic, linear);
            const double bound = trial.t + shrink * (high_.t - trial.t);
            next = trial.t > low_.t ? std::min(bound, next) : std::max(bound, next);
        } else {
            next = std::clamp(farther(trial.t, cubic, linear), min_step_, max_step_);
        }
    } else {
        // 4. Lower, and no flatter: inwards when bracketed, as far as allowed otherwise.
        if (bracketed_)
            next = Cubic(high_, trial).minimizer();
        else
            next = trial.t > low_.t ? max_step_ : min_step_;
    }
    low_ = trial;
    return next;
}

}  // namespace fastsynth
