// Style as the first and second moments of features: the members of the MMD family that need no
// pairs of positions (Li, Wang, Liu, Hou 2017), and mean with covariance.
#pragma once

#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/objective/gram.hpp"
#include "fastsynth/objective/term.hpp"

namespace fastsynth {

/// Which second moments are compared, beside the means μ of the channels.
enum class SecondMoment {
    none,
    deviation,   // σ of each channel
    gram,        // G = F Fᵀ / M
    covariance,  // C = F Fᵀ / M - μ μᵀ
};

/// value = a Σ (μ - μ₀)² + b Σ (S - S₀)², S the second moments.
///
///   linear MMD:            none,       a
///   polynomial, (xy + c)²: gram,       a = 2 c b
///   batch-norm statistics: deviation,  a = b = 1 / N
///   mean and covariance:   covariance, a, b
class MomentsTerm final : public LayerTerm {
  public:
    /// Copies the targets: `mean` (channels), `second` empty, (channels) or (channels, channels).
    MomentsTerm(std::vector<float> mean, std::vector<float> second, SecondMoment kind,
                double mean_weight, double second_weight);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// What other forms of the term are made from.
    SecondMoment kind() const { return kind_; }
    double mean_weight() const { return mean_weight_; }
    double second_weight() const { return second_weight_; }
    const std::vector<float>& mean_target() const { return mean_target_; }
    const std::vector<float>& second_target() const { return second_target_; }

    bool is_tileable() const override { return true; }
    void start() override;
    void gather(const FeatureMap& part, const Place& place, ThreadPool& pool) override;
    double settle() override;
    double pull(const FeatureMap& part, const Place& place, const Cotangent& cotangent,
                ThreadPool& pool) override;

    /// Of what was gathered: means and variances (channels), F Fᵀ / M (channels, channels). The
    /// last two only of the kinds that compare them.
    const std::vector<double>& mean() const { return mean_; }
    std::vector<double> variance() const;
    std::vector<float> gram() const;

  private:
    void measure(const FeatureMap& part, ThreadPool& pool);
    bool has_matrix() const {
        return kind_ == SecondMoment::gram || kind_ == SecondMoment::covariance;
    }

    int channels_;
    SecondMoment kind_;
    double mean_weight_, second_weight_;
    std::vector<float> mean_target_, second_target_;
    double positions_ = 0.0;       // gathered so far
    std::vector<double> mean_;     // over them
    std::vector<double> scatter_;  // Σ (F - μ)² over them
    Buffer<float> gram_;           // F Fᵀ / M; after settle its distance from the target
    double rms_ = 0.0;             // of the features
    GramProduct product_;
    GramSums sums_;
    std::vector<double> constant_, slope_;  // of the gradient, see settle
};

}  // namespace fastsynth
