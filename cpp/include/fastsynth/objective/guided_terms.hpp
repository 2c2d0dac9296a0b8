// Terms of regions: a view that shows another term some positions of the features, and functions of
// the mean and covariance over weighted positions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/objective/gram.hpp"
#include "fastsynth/objective/term.hpp"

namespace fastsynth {

/// Shows `inner` the features at chosen positions, times a root r of a weight for each, as one row.
/// Regions that share a map share its cost: each pays for its own positions, whatever their shape.
class GatherTerm final : public LayerTerm {
  public:
    /// positions: indices into rows · columns, ascending; roots: one for each position, or empty.
    GatherTerm(std::shared_ptr<LayerTerm> inner, int rows, int columns,
               std::vector<std::int32_t> positions, std::vector<float> roots);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// What other forms of the term are made from.
    const std::shared_ptr<LayerTerm>& inner() const { return inner_; }
    int rows() const { return rows_; }
    int columns() const { return columns_; }
    const std::vector<std::int32_t>& positions() const { return positions_; }
    const std::vector<float>& roots() const { return roots_; }

  private:
    std::shared_ptr<LayerTerm> inner_;
    int rows_, columns_;
    std::vector<std::int32_t> positions_;
    std::vector<float> roots_;
    Buffer<float> features_, slopes_;
    FeatureMap inside_{};  // over features_
};

/// A function of the mean μ and covariance C of features, over M positions with weights r²:
///
///   μ = 1/M Σ r g,   C = 1/M Σ g gᵀ - μ μᵀ,   g = r f as a GatherTerm shows it, mean r² = 1
///   dL/dg_p = 2/M S g_p + r_p/M (m - 2 S μ),   m = dL/dμ, S = dL/dC symmetric
///
/// Without roots r = 1. C is summed as Gram matrices are, μ in float64.
class GaussianTerm : public LayerTerm {
  public:
    GaussianTerm(int channels, std::vector<float> roots);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// Empty for r = 1.
    const std::vector<float>& roots() const { return roots_; }

  protected:
    /// Value of the function. `covariance` (channels, channels) becomes S, `slope` (channels) m.
    virtual double judge(const std::vector<double>& mean, float* covariance,
                         std::vector<double>& slope) = 0;

  private:
    void measure(const FeatureMap& feature, ThreadPool& pool);

    int channels_;
    std::vector<float> roots_;
    std::vector<double> mean_;
    Buffer<float> covariance_;
    GramProduct product_;
};

/// a ‖μ - μ₀‖² + b ‖C - C₀‖²
class CovarianceTerm final : public GaussianTerm {
  public:
    CovarianceTerm(std::vector<float> mean, std::vector<float> covariance, double mean_weight,
                   double covariance_weight, std::vector<float> roots);

    /// What other forms of the term are made from.
    const std::vector<float>& mean_target() const { return mean_target_; }
    const std::vector<float>& covariance_target() const { return covariance_target_; }
    double mean_weight() const { return mean_weight_; }
    double covariance_weight() const { return covariance_weight_; }

  protected:
    double judge(const std::vector<double>& mean, float* covariance,
                 std::vector<double>& slope) override;

  private:
    std::vector<float> mean_target_, covariance_target_;
    double mean_weight_, covariance_weight_;
};

}  // namespace fastsynth
