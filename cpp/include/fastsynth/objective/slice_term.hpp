// Distributions of features seen along directions: sliced Wasserstein distances, histograms, and
// the Gaussian kernel's MMD by random Fourier features.
#pragma once

#include <cstddef>
#include <vector>

#include "fastsynth/objective/term.hpp"

namespace fastsynth {

/// With z_d(p) = w_d · f(p) over the positions p, and a sum over the directions d:
///
///   quantiles: s Σ_d mean_r (z_(r) - q_d(r))²      sorted values against the target's quantiles,
///              the squared Wasserstein distance of the two distributions along w_d
///   cosines:   s Σ_d (mean_p cos(z + b_d) - t_d)²   random Fourier features (Rahimi & Recht 2007)
///
/// At most `most` positions are looked at, one at a random but fixed place in each of as many equal
/// stretches. Values in float64.
class SliceTerm final : public LayerTerm {
  public:
    /// Quantiles: targets (directions, count), ascending in each row.
    static SliceTerm quantiles(std::vector<float> directions, int channels,
                               std::vector<float> targets, double scale, int most);
    /// Cosines: phases and targets (directions).
    static SliceTerm cosines(std::vector<float> directions, int channels, std::vector<float> phases,
                             std::vector<float> targets, double scale, int most);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// What other forms of the term are made from; phases are empty for quantiles.
    const std::vector<float>& directions() const { return directions_; }
    const std::vector<float>& phases() const { return phases_; }
    const std::vector<float>& targets() const { return targets_; }
    int channels() const { return channels_; }
    double scale() const { return scale_; }
    /// The positions that are looked at, of a map with this number of them.
    std::vector<std::size_t> places(std::size_t positions) const;

  private:
    SliceTerm(std::vector<float> directions, int channels, std::vector<float> phases,
              std::vector<float> targets, double scale, int most);
    double row(std::size_t d, std::size_t count);

    std::vector<float> directions_, phases_, targets_;
    int channels_;
    double scale_;
    std::size_t most_, count_;              // count_: directions
    std::vector<float> features_, values_;  // (positions, channels) and (directions, positions)
};

}  // namespace fastsynth
