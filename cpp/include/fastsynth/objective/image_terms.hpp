// Image terms: priors on the pixels themselves. x: planar RGB (3, H, W) in [0, 1]; P = H·W pixels.
#pragma once

#include "fastsynth/objective/term.hpp"

namespace fastsynth {

enum class Average { mean, sum };

/// Total variation after Mahendran & Vedaldi, with the exponent β:
///
///   Σ over channels and pixels of (dx² + dy²)^(β/2),    dx, dy: differences to the right and lower
///   neighbour, 0 at the edge
///
/// mean divides by P, so that the number does not follow the image's size. β = 2 is quadratic
/// (smooths everything alike); β = 1 spares edges. Below 2 the gradient has a kink at 0, so there
/// (dx² + dy² + ε²)^(β/2) - ε^β is taken, with ε = 1e-3, a quarter of an 8-bit step: still 0 for a
/// constant image, and smooth.
class TotalVariation final : public ImageTerm {
  public:
    explicit TotalVariation(double beta = 2.0, Average average = Average::mean);
    double evaluate(const float* image, int height, int width, double weight, float* gradient,
                    ThreadPool& pool) override;

    double beta() const { return beta_; }
    Average average() const { return average_; }

  private:
    double beta_;
    Average average_;
};

/// α-norm after Mahendran & Vedaldi 2016: Σ over pixels of ‖x(p) - 1/2‖^α, ‖·‖ the Euclidean norm
/// of the RGB vector; it keeps colours from running off. (Their paper of 2015 sums |x|^α over
/// single values instead.) mean divides by P.
class AlphaNorm final : public ImageTerm {
  public:
    explicit AlphaNorm(double alpha = 6.0, Average average = Average::mean);
    double evaluate(const float* image, int height, int width, double weight, float* gradient,
                    ThreadPool& pool) override;

    double alpha() const { return alpha_; }
    Average average() const { return average_; }

  private:
    double alpha_;
    Average average_;
};

/// The mean over all 3 P values of the squared distance from [low, high]: 0 inside, so that it acts
/// only on values that could not be shown.
class RangePenalty final : public ImageTerm {
  public:
    explicit RangePenalty(double low = 0.0, double high = 1.0);
    double evaluate(const float* image, int height, int width, double weight, float* gradient,
                    ThreadPool& pool) override;

    float low() const { return low_; }
    float high() const { return high_; }

  private:
    float low_, high_;
};

}  // namespace fastsynth
