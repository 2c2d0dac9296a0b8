#include "fastsynth/objective/layer_terms.hpp"

#include <algorithm>
#include <cmath>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {
namespace {

/// 1 / Σ t², or 1 / count where that would divide by zero.
double relative_scale(const float* target, std::size_t count) {
    const double squared = vector_kernels().dot(target, target, count);
    return 1.0 / (squared > 0.0 ? squared : static_cast<double>(count));
}

/// 1 / Σ (t - mean of its channel)², where at least a hundredth of Σ t² is taken; 1 / count for
/// zeros.
double varying_scale(const float* target, int channels, std::size_t positions) {
    const std::size_t count = positions * channels;
    const double squared = vector_kernels().dot(target, target, count);
    if (!(squared > 0.0)) return 1.0 / static_cast<double>(count);
    double means = 0.0;
    for (int c = 0; c < channels; ++c) {
        const double sum = vector_kernels().sum(target + c * positions, positions);
        means += sum * sum / static_cast<double>(positions);
    }
    return 1.0 / std::max(squared - means, 0.01 * squared);
}

void require_finite(const float* target, std::size_t count) {
    require(std::isfinite(vector_kernels().max_abs(target, count)),
            "the target of a term holds values that are infinite or not a number");
}

}  // namespace

ContentTerm::ContentTerm(const float* target, int channels, int height, int width,
                         Normalization normalization)
    : layout_{nullptr, channels, height, width, 1} {
    require(channels > 0 && height > 0 && width > 0,
            "a content target needs at least one value, not ", channels, " x ", height, " x ",
            width);
    const std::size_t count = layout_.size();
    require_finite(target, count);
    target_.resize(count);
    std::copy(target, target + count, target_.data());
    layout_.data = target_.data();
    switch (normalization) {
        case Normalization::relative:
            scale_ = varying_scale(target, channels, layout_.positions());
            break;
        case Normalization::paper:
            scale_ = 0.5;
            break;
        case Normalization::normalized:
            scale_ = 0.5 / static_cast<double>(count);
            break;
    }
}

void ContentTerm::bind(const FeatureMap& feature) {
    require(feature.channels == layout_.channels && feature.height == layout_.height &&
                feature.width == layout_.width,
            "the content target has shape ", layout_.channels, " x ", layout_.height, " x ",
            layout_.width, ", the features have ", feature.channels, " x ", feature.height, " x ",
            feature.width);
    if (feature.block == layout_.block) return;
    if (layout_.block != 1) {
        Buffer<float> planar(layout_.size());
        to_planar(layout_, planar.data());
        target_ = std::move(planar);
    }
    Buffer<float> arranged(layout_.size());
    layout_.block = feature.block;
    layout_.data = arranged.data();
    add_planar(target_.data(), layout_);
    target_ = std::move(arranged);
}

double ContentTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                             ThreadPool& pool) {
    if (feature.block != layout_.block)
        bind(feature);  // another objective's network had another layout
    const std::size_t count = feature.size();
    const double squared =
        cotangent.weight == 0.0
            ? difference2(feature.data, target_.data(), count, pool)
            : scaled_difference(2.0 * cotangent.weight * scale_, feature.data, target_.data(),
                                cotangent.map.data, count, cotangent.add, pool);
    return scale_ * squared;
}

GramTerm::GramTerm(const float* target, int channels, Normalization normalization)
    : channels_(channels) {
    require(channels > 0, "a Gram target needs at least one channel, not ", channels);
    const auto count = static_cast<std::size_t>(channels) * static_cast<std::size_t>(channels);
    require_finite(target, count);
    target_.resize(count);
    gram_.resize(count);
    std::copy(target, target + count, target_.data());
    switch (normalization) {
        case Normalization::relative:
            scale_ = relative_scale(target, count);
            break;
        case Normalization::paper:
            scale_ = 0.25 / static_cast<double>(count);
            break;
        case Normalization::normalized:
            scale_ = 1.0 / static_cast<double>(count);
            break;
    }
}

void GramTerm::bind(const FeatureMap& feature) {
    require(feature.channels == channels_, "the Gram target has ", channels_,
            " channels, the features have ", feature.channels);
}

double GramTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent, ThreadPool& pool) {
    product_.gram(feature, gram_.data(), pool);
    const double squared = scaled_difference(1.0, gram_.data(), target_.data(), gram_.data(),
                                             gram_.size(), false, pool);  // G becomes G - A
    if (cotangent.weight != 0.0) {
        // d/dF s Σ (G - A)² = (4 s / M) (G - A) F, for G = F Fᵀ / M is symmetric.
        const double factor =
            4.0 * scale_ * cotangent.weight / static_cast<double>(feature.positions());
        product_.apply(feature, gram_.data(), factor, cotangent.map, cotangent.add, pool);
    }
    return scale_ * squared;
}

}  // namespace fastsynth
