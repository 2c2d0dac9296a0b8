// Cross-correlations of features with themselves a few positions on (Berger & Memisevic 2016).
#pragma once

#include <cstddef>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/objective/gram.hpp"
#include "fastsynth/objective/term.hpp"

namespace fastsynth {

/// value = s Σ_k ‖G_k - A_k‖²,   G_k = 1/M_k Σ_p f(p + d_k) f(p)ᵀ over the M_k positions p for
/// which p + d_k lies in the map, too. d_k is one of the shifts along x, then along y; f are
/// features less a constant, the exemplar's means: they are not symmetric as Gram matrices are.
///
/// A shift is a Gram matrix of both sides stacked, 2 C channels, whose corner is G: the kernels of
/// gram.hpp serve, at twice the products that are needed.
class ShiftedGramTerm final : public LayerTerm {
  public:
    /// shifts: positions, at least 1; a shift that a map is too small for counts as 0.
    /// targets: A_k, (2 · shifts, channels, channels): all along x, then all along y. centre:
    /// (channels).
    ShiftedGramTerm(std::vector<float> targets, std::vector<int> shifts, std::vector<float> centre,
                    double scale);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// What other forms of the term are made from.
    const std::vector<float>& targets() const { return targets_; }
    const std::vector<float>& centre() const { return centre_; }
    const std::vector<int>& shifts() const { return shifts_; }
    double scale() const { return scale_; }

  private:
    double one(const FeatureMap& feature, const Cotangent& cotangent, int dx, int dy,
               const float* target, ThreadPool& pool);

    std::vector<float> targets_, centre_;
    std::vector<int> shifts_;
    double scale_;
    Buffer<float> pairs_, slopes_, gram_;
    GramProduct product_;
};

}  // namespace fastsynth
