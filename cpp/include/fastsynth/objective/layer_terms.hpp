// The layer terms of Gatys et al. and of the paper: content (Eqs 7, 11) and Gram (Eqs 6, 8, 9, 12).
//
// F: C x M features of the image, P: those of the target; N = C channels, M = H·W positions; G, A:
// Gram matrices F Fᵀ / M. Values are summed in float64. k_c, k_s and the weights of layers (Eqs 11,
// 12) are the objective's part weights.
#pragma once

#include <cstddef>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/objective/gram.hpp"
#include "fastsynth/objective/term.hpp"

namespace fastsynth {

enum class Normalization {
    relative,    // squared distance over the target's energy: dimensionless, independent of image
                 // size
    paper,       // the literal sums of Eqs 7 and 6
    normalized,  // means over values or matrix entries: Eqs 11 and 12
};

/// content = s Σ (F - P)²
///   relative:            s = 1 / Σ (P - P̄)², P̄ the mean of each channel: 1 for features that have
///   lost
///                        all structure. At least a hundredth of Σ P² is taken, for flat targets;
///                        1 / (N M) for a target of zeros.
///   paper (Eq. 7):       s = 1/2
///   normalized (Eq. 11): s = 1 / (2 N M)
class ContentTerm final : public LayerTerm {
  public:
    /// Copies the target, planar (channels, height, width).
    ContentTerm(const float* target, int channels, int height, int width,
                Normalization normalization);

    /// A term of scale s whose target is somewhere else and shown with `aim`, tile by tile.
    explicit ContentTerm(double scale);

    /// The target of the parts to come: `map`, which must stay, at `place`.
    void aim(const FeatureMap& map, const Place& place);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// What other forms of the term are made from: the target in `layout()`, and s.
    const FeatureMap& layout() const { return layout_; }
    double scale() const { return scale_; }

    bool is_tileable() const override { return true; }
    bool needs_sums() const override { return false; }
    void start() override {}
    double settle() override { return 0.0; }
    double pull(const FeatureMap& part, const Place& place, const Cotangent& cotangent,
                ThreadPool& pool) override;

  private:
    Buffer<float> target_;
    FeatureMap layout_;       // of the target; follows the network that the term is bound to
    int top_ = 0, left_ = 0;  // where the target lies in the layer
    double scale_;
};

/// s of a content loss, from what is known of P without holding it: Σ P², Σ over channels of M P̄²,
/// the number of values N M.
double content_scale(Normalization normalization, double squares, double means, double count);

/// gram = s Σ (G - A)²
///   relative:            s = 1 / Σ A²
///   paper (Eqs 6, 8):    s = 1 / (4 N²)
///   normalized (Eq. 12): s = 1 / N²
/// Eq. 6 has 1/(4 N² M²) Σ (F Fᵀ - A_raw)²; with G = F Fᵀ / M that is 1/(4 N²)
/// Σ (G - A)², which also compares images of different sizes: it rescales A_raw from the target's
/// positions to the image's. A target of zeros: relative takes s = 1/N².
class GramTerm final : public LayerTerm {
  public:
    /// Copies the target's Gram matrix (channels, channels), divided by its own number of
    /// positions.
    GramTerm(const float* target, int channels, Normalization normalization);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// What other forms of the term are made from: A, and s.
    const Buffer<float>& target() const { return target_; }
    int channels() const { return channels_; }
    double scale() const { return scale_; }

    bool is_tileable() const override { return true; }
    void start() override { sums_.clear(); }
    void gather(const FeatureMap& part, const Place& place, ThreadPool& pool) override;
    double settle() override;
    double pull(const FeatureMap& part, const Place& place, const Cotangent& cotangent,
                ThreadPool& pool) override;

  private:
    /// The part's pull, where all parts together have `positions`.
    void pull(const FeatureMap& part, double positions, const Cotangent& cotangent,
              ThreadPool& pool);

    Buffer<float> target_, gram_;
    double rms_ = 0.0;  // of the features
    GramProduct product_;
    GramSums sums_;
    int channels_;
    double scale_;
};

}  // namespace fastsynth
