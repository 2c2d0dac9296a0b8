// Terms that show another term a part of the features: a window of positions, weighted by a guide,
// or a few mixtures of channels at coarser positions. What is behind them is any LayerTerm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/objective/term.hpp"

namespace fastsynth {

/// Rows and columns of a map.
struct Window {
    int top, left, height, width;
};

/// Shows `inner` the features T ∘ F inside a window; T: one number per position of the window, the
/// same for all channels, or nothing for T = 1. The window's cost is that of its own positions.
///
/// Guided Gram matrices (Gatys et al. 2017) are this around a GramTerm. A window without a guide
/// leaves out the positions near the borders, which see the zeros that networks pad with.
class WindowTerm final : public LayerTerm {
  public:
    /// guide: height · width values, copied, or null. The features must be rows x columns.
    WindowTerm(std::shared_ptr<LayerTerm> inner, int rows, int columns, Window window,
               const float* guide);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// What other forms of the term are made from; the guide is empty for T = 1.
    const std::shared_ptr<LayerTerm>& inner() const { return inner_; }
    const Window& window() const { return window_; }
    const std::vector<float>& guide() const { return guide_; }

    bool is_tileable() const override { return inner_->is_tileable(); }
    bool needs_sums() const override { return inner_->needs_sums(); }
    void start() override { inner_->start(); }
    void gather(const FeatureMap& part, const Place& place, ThreadPool& pool) override;
    double settle() override { return inner_->settle(); }
    double pull(const FeatureMap& part, const Place& place, const Cotangent& cotangent,
                ThreadPool& pool) override;

  private:
    /// The window's share of a part: in the part's rows and columns. Empty: height or width ≤ 0.
    Window share(const FeatureMap& part, const Place& place) const;
    FeatureMap take(const FeatureMap& part, const Window& share, const Place& place,
                    ThreadPool& pool);
    const float* guide_row(const Window& share, const Place& place, std::int64_t y) const;
    Place inner_place(const Window& share, const Place& place) const;
    void give(const FeatureMap& inside, const Window& share, const Place& place,
              const Cotangent& cotangent, ThreadPool& pool);

    std::shared_ptr<LayerTerm> inner_;
    int rows_, columns_;
    Window window_;
    std::vector<float> guide_;
    Buffer<float> features_, slopes_;
    int channels_ = 0, block_ = 0;  // of the features that the inner term is bound to
};

/// Shows `inner` the map Z = V P: P the means over k x k positions (what is left over at the right
/// and lower border is not used), V: K x C mixtures of channels. Planar.
///
/// Statistics over large distances need neither every channel nor every position: with V from the
/// principal components of the target, this is what makes them cheap.
class ProjectedTerm final : public LayerTerm {
  public:
    /// mixtures: (count, channels), copied. pooling: k.
    ProjectedTerm(std::shared_ptr<LayerTerm> inner, const float* mixtures, int count, int channels,
                  int pooling);

    void bind(const FeatureMap& feature) override;
    double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                    ThreadPool& pool) override;

    /// What other forms of the term are made from.
    const std::shared_ptr<LayerTerm>& inner() const { return inner_; }
    const std::vector<float>& mixtures() const { return mixtures_; }
    int count() const { return count_; }
    int channels() const { return channels_; }
    int pooling() const { return pooling_; }

  private:
    FeatureMap projected(const FeatureMap& feature);

    std::shared_ptr<LayerTerm> inner_;
    std::vector<float> mixtures_;  // (count, channels)
    int count_, channels_, pooling_;
    Buffer<float> values_, slopes_;
};

}  // namespace fastsynth
