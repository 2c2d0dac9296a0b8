#include "fastsynth/objective/layer_terms.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {
namespace {

/// 1 / Σ t², or 1 / count where that would divide by zero.
double relative_scale(const float* target, std::size_t count) {
    const double squared = vector_kernels().dot(target, target, count);
    return 1.0 / (squared > 0.0 ? squared : static_cast<double>(count));
}

void require_finite(const float* target, std::size_t count) {
    require(std::isfinite(vector_kernels().max_abs(target, count)),
            "the target of a term holds values that are infinite or not a number");
}

}  // namespace

double content_scale(Normalization normalization, double squares, double means, double count) {
    if (normalization == Normalization::paper) return 0.5;
    if (normalization == Normalization::normalized) return 0.5 / count;
    return squares > 0.0 ? 1.0 / std::max(squares - means, 0.01 * squares) : 1.0 / count;
}

ContentTerm::ContentTerm(double scale) : layout_{}, scale_(scale) {}

void ContentTerm::aim(const FeatureMap& map, const Place& place) {
    layout_ = map;
    top_ = place.top;
    left_ = place.left;
}

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
    const std::size_t positions = layout_.positions();
    double squares = 0.0, means = 0.0;
    if (normalization == Normalization::relative) {
        squares = vector_kernels().dot(target, target, count);
        for (int c = 0; c < channels; ++c) {
            const double sum = vector_kernels().sum(target + c * positions, positions);
            means += sum * sum / static_cast<double>(positions);
        }
    }
    scale_ = content_scale(normalization, squares, means, static_cast<double>(count));
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

double ContentTerm::pull(const FeatureMap& part, const Place& place, const Cotangent& cotangent,
                         ThreadPool& pool) {
    require(part.block == layout_.block && part.channels == layout_.channels,
            "the content target and the features differ in layout");
    const int top = place.top - top_, left = place.left - left_;
    require(top >= 0 && left >= 0 && top + part.height <= layout_.height &&
                left + part.width <= layout_.width,
            "the part lies outside the content target");
    const auto lanes = static_cast<std::size_t>(part.block);
    const std::size_t run = static_cast<std::size_t>(part.width) * lanes;
    const auto& kernels = vector_kernels();
    const double factor = 2.0 * cotangent.weight * scale_;
    const std::int64_t lines = static_cast<std::int64_t>(part.channels / part.block) * part.height;
    const std::int64_t grain =
        std::max<std::int64_t>(1, (1 << 15) / static_cast<std::int64_t>(run));
    const double squared = pool.sum(lines, grain, [&](std::int64_t begin, std::int64_t end) {
        double sum = 0.0;
        for (std::int64_t line = begin; line < end; ++line) {
            const std::int64_t panel = line / part.height, y = line % part.height;
            const std::size_t at = static_cast<std::size_t>(line) * run;
            const float* target =
                layout_.data +
                (static_cast<std::size_t>(panel * layout_.height + top + y) * layout_.width +
                 left) *
                    lanes;
            sum += cotangent.weight == 0.0
                       ? kernels.difference2(part.data + at, target, run)
                       : kernels.scaled_difference(factor, part.data + at, target,
                                                   cotangent.map.data + at, run, cotangent.add);
        }
        return sum;
    });
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
    // All positions at once: no sums of parts, whose C² values one thread would add.
    product_.gram(feature, gram_.data(), pool);
    rms_ = features_rms(gram_.data(), channels_);
    const double squared = scaled_difference(1.0f, gram_.data(), target_.data(), gram_.data(),
                                             gram_.size(), false, pool);  // G becomes G - A
    if (cotangent.weight != 0.0)
        pull(feature, static_cast<double>(feature.positions()), cotangent, pool);
    return scale_ * squared;
}

void GramTerm::gather(const FeatureMap& part, const Place&, ThreadPool& pool) {
    sums_.add(part, product_, gram_.data(), pool);
}

double GramTerm::settle() {
    if (sums_.positions() == 0.0) return 0.0;
    sums_.read(gram_.data());
    rms_ = features_rms(gram_.data(), channels_);
    const double squared = vector_kernels().scaled_difference(
        1.0, gram_.data(), target_.data(), gram_.data(), gram_.size(), false);  // G becomes G - A
    return scale_ * squared;
}

double GramTerm::pull(const FeatureMap& part, const Place&, const Cotangent& cotangent,
                      ThreadPool& pool) {
    pull(part, sums_.positions(), cotangent, pool);
    return 0.0;
}

void GramTerm::pull(const FeatureMap& part, double positions, const Cotangent& cotangent,
                    ThreadPool& pool) {
    // d/dF s Σ (G - A)² = (4 s / M) (G - A) F, for G = F Fᵀ / M is symmetric.
    const double factor = 4.0 * scale_ * cotangent.weight / positions;
    product_.apply(part, gram_.data(), factor, cotangent.map, cotangent.add, pool, rms_);
}

}  // namespace fastsynth
