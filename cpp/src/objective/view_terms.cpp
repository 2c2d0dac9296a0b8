#include "fastsynth/objective/view_terms.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "fastsynth/common/error.hpp"

namespace fastsynth {
namespace {

void require_inner(const std::shared_ptr<LayerTerm>& inner) {
    require(inner != nullptr, "the term behind a view must not be None");
}

/// Makes room without clearing what is large enough already.
void ensure(Buffer<float>& buffer, std::size_t count) {
    if (buffer.size() != count) buffer.resize(count);
}

}  // namespace

WindowTerm::WindowTerm(std::shared_ptr<LayerTerm> inner, int rows, int columns, Window window,
                       const float* guide)
    : inner_(std::move(inner)), rows_(rows), columns_(columns), window_(window) {
    require_inner(inner_);
    require(window.top >= 0 && window.left >= 0 && window.height > 0 && window.width > 0 &&
                window.top + window.height <= rows && window.left + window.width <= columns,
            "the window ", window.top, "+", window.height, " x ", window.left, "+", window.width,
            " does not lie inside ", rows, " x ", columns, " positions");
    if (guide != nullptr) {
        const auto count = static_cast<std::size_t>(window.height) * window.width;
        guide_.assign(guide, guide + count);
        for (float value : guide_)
            require(std::isfinite(value), "a guide must be finite, not ", value);
    }
}

void WindowTerm::resize(const FeatureMap& feature) {
    inside_ = {nullptr, feature.channels, window_.height, window_.width, feature.block};
    ensure(features_, inside_.size());
    ensure(slopes_, inside_.size());
    inside_.data = features_.data();
}

void WindowTerm::bind(const FeatureMap& feature) {
    require(feature.height == rows_ && feature.width == columns_, "the window is one of ", rows_,
            " x ", columns_, " positions, the features have ", feature.height, " x ",
            feature.width);
    resize(feature);
    inner_->bind(inside_);
}

double WindowTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                            ThreadPool& pool) {
    if (feature.block != inside_.block || feature.channels != inside_.channels) bind(feature);
    const auto lanes = static_cast<std::size_t>(feature.block);
    const std::size_t run = static_cast<std::size_t>(window_.width) * lanes;
    const std::size_t row = static_cast<std::size_t>(columns_) * lanes;
    const std::int64_t panels = feature.channels / feature.block;
    const std::int64_t grain = std::max<std::int64_t>(1, (1 << 15) / static_cast<int>(run));
    const float* guide = guide_.empty() ? nullptr : guide_.data();

    pool.for_ranges(panels * window_.height, grain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t line = begin; line < end; ++line) {
            const std::int64_t panel = line / window_.height, y = line % window_.height;
            const float* from = feature.data +
                                static_cast<std::size_t>(panel * rows_ + window_.top + y) * row +
                                static_cast<std::size_t>(window_.left) * lanes;
            float* to = features_.data() + static_cast<std::size_t>(line) * run;
            if (guide == nullptr) {
                std::copy(from, from + run, to);
                continue;
            }
            const float* weights = guide + y * window_.width;
            for (int x = 0; x < window_.width; ++x)
                for (std::size_t l = 0; l < lanes; ++l, ++from, ++to) *to = *from * weights[x];
        }
    });

    Cotangent inside{inside_, cotangent.weight, false};
    inside.map.data = slopes_.data();
    const double value = inner_->evaluate(inside_, inside, pool);
    if (cotangent.weight == 0.0) return value;

    pool.for_ranges(panels * rows_, grain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t line = begin; line < end; ++line) {
            float* to = cotangent.map.data + static_cast<std::size_t>(line) * row;
            const std::int64_t panel = line / rows_, y = line % rows_ - window_.top;
            if (!cotangent.add) std::fill(to, to + row, 0.0f);
            if (y < 0 || y >= window_.height) continue;
            const float* from =
                slopes_.data() + static_cast<std::size_t>(panel * window_.height + y) * run;
            to += static_cast<std::size_t>(window_.left) * lanes;
            if (guide == nullptr) {
                for (std::size_t i = 0; i < run; ++i) to[i] += from[i];
                continue;
            }
            const float* weights = guide + y * window_.width;
            for (int x = 0; x < window_.width; ++x)
                for (std::size_t l = 0; l < lanes; ++l, ++from, ++to) *to += *from * weights[x];
        }
    });
    return value;
}

ProjectedTerm::ProjectedTerm(std::shared_ptr<LayerTerm> inner, const float* mixtures, int count,
                             int channels, int pooling)
    : inner_(std::move(inner)), count_(count), channels_(channels), pooling_(pooling) {
    require_inner(inner_);
    require(count > 0 && channels > 0, "mixtures must be (count, channels) with at least one each");
    require(pooling > 0, "pooling must be at least 1, not ", pooling);
    mixtures_.assign(mixtures, mixtures + static_cast<std::size_t>(count) * channels);
    for (float value : mixtures_)
        require(std::isfinite(value), "mixtures must be finite, not ", value);
}

FeatureMap ProjectedTerm::projected(const FeatureMap& feature) {
    FeatureMap map{nullptr, count_, feature.height / pooling_, feature.width / pooling_, 1};
    ensure(values_, map.size());
    ensure(slopes_, map.size());
    map.data = values_.data();
    return map;
}

void ProjectedTerm::bind(const FeatureMap& feature) {
    require(feature.channels == channels_, "the mixtures are of ", channels_,
            " channels, the features have ", feature.channels);
    require(feature.height >= pooling_ && feature.width >= pooling_, "features of ", feature.height,
            " x ", feature.width, " positions cannot be pooled by ", pooling_);
    inner_->bind(projected(feature));
}

double ProjectedTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                               ThreadPool& pool) {
    const FeatureMap map = projected(feature);
    const auto lanes = static_cast<std::size_t>(feature.block);
    const std::size_t panels = static_cast<std::size_t>(channels_) / lanes;
    const auto columns = static_cast<std::size_t>(map.width);
    const auto k = static_cast<std::size_t>(pooling_);
    const auto line = static_cast<std::size_t>(feature.width) * lanes;  // floats in a row
    const auto channels = static_cast<std::size_t>(channels_);
    const float share = 1.0f / static_cast<float>(pooling_ * pooling_);

    pool.for_ranges(map.height, 1, [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> means(columns * lanes);
        for (std::int64_t y = begin; y < end; ++y) {
            for (int j = 0; j < count_; ++j)
                std::fill_n(
                    values_.data() + (static_cast<std::size_t>(j) * map.height + y) * columns,
                    columns, 0.0f);
            for (std::size_t panel = 0; panel < panels; ++panel) {
                std::fill(means.begin(), means.end(), 0.0f);
                for (std::size_t dy = 0; dy < k; ++dy) {
                    const float* from =
                        feature.data +
                        (panel * feature.height + static_cast<std::size_t>(y) * k + dy) * line;
                    for (std::size_t x = 0; x < columns; ++x)
                        for (std::size_t dx = 0; dx < k; ++dx, from += lanes)
                            for (std::size_t l = 0; l < lanes; ++l) means[x * lanes + l] += from[l];
                }
                for (int j = 0; j < count_; ++j) {
                    const float* mixture =
                        mixtures_.data() + static_cast<std::size_t>(j) * channels + panel * lanes;
                    float* to =
                        values_.data() + (static_cast<std::size_t>(j) * map.height + y) * columns;
                    for (std::size_t x = 0; x < columns; ++x) {
                        float sum = 0.0f;
                        for (std::size_t l = 0; l < lanes; ++l)
                            sum += mixture[l] * means[x * lanes + l];
                        to[x] += share * sum;
                    }
                }
            }
        }
    });

    Cotangent inside{map, cotangent.weight, false};
    inside.map.data = slopes_.data();
    const double value = inner_->evaluate(map, inside, pool);
    if (cotangent.weight == 0.0) return value;

    pool.for_ranges(feature.height, 1, [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> slopes(columns * lanes);
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t y = row / pooling_;
            for (std::size_t panel = 0; panel < panels; ++panel) {
                float* to = cotangent.map.data +
                            (panel * feature.height + static_cast<std::size_t>(row)) * line;
                if (!cotangent.add) std::fill(to, to + line, 0.0f);
                if (y >= map.height) continue;
                std::fill(slopes.begin(), slopes.end(), 0.0f);
                for (int j = 0; j < count_; ++j) {
                    const float* mixture =
                        mixtures_.data() + static_cast<std::size_t>(j) * channels + panel * lanes;
                    const float* from =
                        slopes_.data() + (static_cast<std::size_t>(j) * map.height + y) * columns;
                    for (std::size_t x = 0; x < columns; ++x)
                        for (std::size_t l = 0; l < lanes; ++l)
                            slopes[x * lanes + l] += share * from[x] * mixture[l];
                }
                for (std::size_t x = 0; x < columns; ++x)
                    for (std::size_t dx = 0; dx < k; ++dx, to += lanes)
                        for (std::size_t l = 0; l < lanes; ++l) to[l] += slopes[x * lanes + l];
            }
        }
    });
    return value;
}

}  // namespace fastsynth
