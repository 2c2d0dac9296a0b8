#pragma once

#include <limits>
#include <memory>

#include "fastsynth/optimize/laplacian.hpp"
#include "fastsynth/optimize/optimizer.hpp"

namespace fastsynth {

struct AscentSettings {
    double step = 1.0;       // δ
    bool normalize = false;  // divide the gradient by its mean |g|, so that δ is in units of x
    int levels = 0;          // of the Laplacian pyramid whose bands are normalised first; 0: none
    int height = 0;          // of the image, for the pyramid
    int width = 0;
    // Values are held in this range.
    double low = -std::numeric_limits<double>::infinity();
    double high = std::numeric_limits<double>::infinity();
};

/// Eq. 3, X ← X + δ G_h, with the objective minus the activation h: G_h = -∂L/∂X. It does not look
/// for the least loss: its result is where it arrives, after the last step.
class Ascent final : public Optimizer {
  public:
    explicit Ascent(const AscentSettings& settings);

    const char* name() const override { return "ascent"; }
    void start(std::size_t size) override;
    Outcome iterate(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool) override;
    void visit(Archive& archive) override;
    bool ends_at_last() const override { return true; }

  private:
    AscentSettings settings_;
    Buffer<float> gradient_;
    std::unique_ptr<BandNormalizer> bands_;
};

}  // namespace fastsynth
