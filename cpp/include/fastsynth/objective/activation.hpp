// Activation terms: what hidden nodes see is raised (Eq. 3, DeepDream). Every term of an objective
// is minimised, so these are minus the activation: descent on them is ascent on it.
//
// a: C x M features of the image, C channels, M positions. Values are summed in float64.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/objective/gram.hpp"
#include "fastsynth/objective/term.hpp"

namespace fastsynth {

enum class Measure {
    energy,  // -½ Σ_c w_c Σ_p a²: its gradient is the activation itself
    sum,     // -Σ_c w_c Σ_p a
    mean,    // the sum over the number of positions and Σ |w_c|
};

/// All channels with weight 1, or some with weights of their own; all positions, or one of them.
class ActivationTerm final : public LayerTerm {
  public:
    /// channels: pairs (channel, weight); none means all channels, weight 1. A repeated channel
    /// adds its weights up.
    ActivationTerm(Measure measure, const std::vector<std::pair<int, double>>& channels);

    /// Only the position that lies at this share of the map's height and width, each in [0, 1].
    void place(double down, double across);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// What other forms of the term are made from; down and across are negative for all positions.
    Measure measure() const { return measure_; }
    const std::vector<std::pair<int, double>>& channels() const { return channels_; }
    double down() const { return down_; }
    double across() const { return across_; }

  private:
    /// Writes the weights of one channel panel, repeated to `count` values; false if all are 0.
    bool pattern(int panel, int block, std::size_t count, float* weights) const;
    double evaluate_neuron(const FeatureMap& feature, const Cotangent& cotangent,
                           ThreadPool& pool) const;

    Measure measure_;
    std::vector<std::pair<int, double>> channels_;
    double down_ = -1.0, across_ = -1.0;  // negative: all positions
};

enum class Match {
    dot,      // -Σ_p max_q a_p · g_q
    nearest,  // ½ Σ_p min_q |a_p - g_q|²
};

/// Guided dreams: each position p of the image takes the guide's feature g_q that fits it best and
/// is drawn towards it. The choice is made anew at each evaluation; the gradient holds it fixed.
///
/// The choice comes from float32 products, the first of equals wins; the value is float64.
class GuidedTerm final : public LayerTerm {
  public:
    /// Copies the guide's features (channels, count), channel by channel.
    GuidedTerm(const float* guide, int channels, int count, Match match);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// What other forms of the term are made from: the guide as (count, channels).
    const Buffer<float>& rows() const { return rows_; }
    int channels() const { return channels_; }
    int count() const { return count_; }
    Match match() const { return match_; }

  private:
    void choose(const FeatureMap& feature, ThreadPool& pool);

    int channels_, count_;
    Match match_;
    Buffer<float> columns_;  // the guide in blocks of (channels, channels): one product each
    Buffer<float> rows_;     // the guide as (count, channels)
    Buffer<float> offsets_;  // ½ |g_q|² for `nearest`, else 0
    Buffer<float> scores_, best_score_;
    std::vector<int> best_;
    GramProduct product_;
};

}  // namespace fastsynth
