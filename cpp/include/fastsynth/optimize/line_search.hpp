// A step length along a descent direction: φ(t) = f(x + t d), φ'(0) < 0.
//
// The search of Moré & Thuente (ACM TOMS 20, 1994): an interval is kept that holds a minimiser, its
// trial points come from cubic and quadratic interpolation of values and slopes, and it ends at a
// point that satisfies the strong Wolfe conditions
//
//     φ(t) ≤ φ(0) + c1 t φ'(0)      (enough decrease)
//     |φ'(t)| ≤ c2 |φ'(0)|          (enough curvature)
//
// Near a minimum the differences of φ drown in rounding (gradients are float32), while the slopes
// stay good. Values that differ by less than `noise` are therefore told apart by their slopes only,
// and the approximate Wolfe conditions of Hager & Zhang (SIAM J. Optim. 16, 2005) are accepted too:
//
//     φ(t) ≤ φ(0) + noise,   (2 c1 - 1) φ'(0) ≥ φ'(t) ≥ c2 φ'(0)
//
// The search calls nothing: ask for step(), evaluate there, hand the result to advance().
#pragma once

namespace fastsynth {

struct LineSearchSettings {
    double c1 = 1e-4;
    double c2 = 0.9;
    double noise = 0.0;        // of φ, absolute; 0 leaves the approximate conditions out
    int max_evaluations = 20;  // of φ, in one search
    int max_shrinks = 10;      // times that a point without a finite value is retreated from
};

class LineSearch {
  public:
    enum class Status { searching, accepted, failed, diverged };
    struct Point {
        double t = 0.0, value = 0.0, slope = 0.0;
    };

    LineSearch(const LineSearchSettings& settings, double value, double slope, double first_step);

    /// Where to evaluate next, or the accepted step.
    double step() const { return step_; }

    /// Takes φ and φ' at step().
    Status advance(double value, double slope);

    /// The best point so far; t = 0 when none is better than the start.
    const Point& best() const { return low_; }

    /// Whether the best point has enough decrease: good enough to go on from when a search failed.
    bool progressed() const;

  private:
    Status retreat();
    double interpolate(const Point& trial);

    LineSearchSettings settings_;
    Point start_;
    Point low_, high_;        // ends of the interval; low_ has the least value
    bool bracketed_ = false;  // between the two lies a minimiser
    bool hunting_ = true;  // until some point has enough decrease and a slope that is not negative
    double width_, old_width_;
    double min_step_, max_step_;
    double wall_;  // no finite value was found from here on
    double step_;
    int evaluations_ = 0, shrinks_ = 0;
};

}  // namespace fastsynth
