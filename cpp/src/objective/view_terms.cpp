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

/// Makes room; parts of a layer differ in size.
void reserve(Buffer<float>& buffer, std::size_t count) {
    if (buffer.size() < count) buffer.resize(count);
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

void WindowTerm::bind(const FeatureMap& feature) {
    require(feature.height == rows_ && feature.width == columns_, "the window is one of ", rows_,
            " x ", columns_, " positions, the features have ", feature.height, " x ",
            feature.width);
    channels_ = feature.channels;
    block_ = feature.block;
    inner_->bind({nullptr, channels_, window_.height, window_.width, block_});
}

Window WindowTerm::share(const FeatureMap& part, const Place& place) const {
    const int top = std::max(window_.top, place.top), left = std::max(window_.left, place.left);
    const int bottom = std::min(window_.top + window_.height, place.top + part.height);
    const int right = std::min(window_.left + window_.width, place.left + part.width);
    return {top - place.top, left - place.left, bottom - top, right - left};
}

/// Copies a share of a part to features_, times the guide.
FeatureMap WindowTerm::take(const FeatureMap& part, const Window& share, const Place& place,
                            ThreadPool& pool) {
    FeatureMap inside{nullptr, part.channels, share.height, share.width, part.block};
    reserve(features_, inside.size());
    inside.data = features_.data();
    const auto lanes = static_cast<std::size_t>(part.block);
    const std::size_t run = static_cast<std::size_t>(share.width) * lanes;
    const std::size_t row = static_cast<std::size_t>(part.width) * lanes;
    const std::int64_t panels = part.channels / part.block;
    const std::int64_t grain = std::max<std::int64_t>(1, (1 << 15) / static_cast<int>(run));
    pool.for_ranges(panels * share.height, grain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t line = begin; line < end; ++line) {
            const std::int64_t panel = line / share.height, y = line % share.height;
            const float* from =
                part.data + static_cast<std::size_t>(panel * part.height + share.top + y) * row +
                static_cast<std::size_t>(share.left) * lanes;
            float* to = features_.data() + static_cast<std::size_t>(line) * run;
            if (guide_.empty()) {
                std::copy(from, from + run, to);
                continue;
            }
            const float* weights = guide_row(share, place, y);
            for (int x = 0; x < share.width; ++x)
                for (std::size_t l = 0; l < lanes; ++l, ++from, ++to) *to = *from * weights[x];
        }
    });
    return inside;
}

const float* WindowTerm::guide_row(const Window& share, const Place& place, std::int64_t y) const {
    const std::int64_t row = place.top + share.top + y - window_.top;
    const int column = place.left + share.left - window_.left;
    return guide_.data() + row * window_.width + column;
}

/// Writes the slopes of a share, times the guide, to the part's cotangent; 0 outside the share.
void WindowTerm::give(const FeatureMap& inside, const Window& share, const Place& place,
                      const Cotangent& cotangent, ThreadPool& pool) {
    const FeatureMap& map = cotangent.map;
    const auto lanes = static_cast<std::size_t>(map.block);
    const std::size_t run = static_cast<std::size_t>(share.width) * lanes;
    const std::size_t row = static_cast<std::size_t>(map.width) * lanes;
    const std::int64_t panels = map.channels / map.block;
    const std::int64_t grain = std::max<std::int64_t>(1, (1 << 15) / static_cast<int>(row));
    pool.for_ranges(panels * map.height, grain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t line = begin; line < end; ++line) {
            float* to = map.data + static_cast<std::size_t>(line) * row;
            const std::int64_t panel = line / map.height, y = line % map.height - share.top;
            if (!cotangent.add) std::fill(to, to + row, 0.0f);
            if (y < 0 || y >= share.height) continue;
            const float* from =
                inside.data + static_cast<std::size_t>(panel * share.height + y) * run;
            to += static_cast<std::size_t>(share.left) * lanes;
            if (guide_.empty()) {
                for (std::size_t i = 0; i < run; ++i) to[i] += from[i];
                continue;
            }
            const float* weights = guide_row(share, place, y);
            for (int x = 0; x < share.width; ++x)
                for (std::size_t l = 0; l < lanes; ++l, ++from, ++to) *to += *from * weights[x];
        }
    });
}

double WindowTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                            ThreadPool& pool) {
    if (feature.block != block_ || feature.channels != channels_) bind(feature);
    const Place everywhere{rows_, columns_, 0, 0};
    const FeatureMap inside = take(feature, window_, everywhere, pool);
    Cotangent slopes{inside, cotangent.weight, false};
    reserve(slopes_, inside.size());
    slopes.map.data = slopes_.data();
    const double value = inner_->evaluate(inside, slopes, pool);
    if (cotangent.weight != 0.0) give(slopes.map, window_, everywhere, cotangent, pool);
    return value;
}

void WindowTerm::gather(const FeatureMap& part, const Place& place, ThreadPool& pool) {
    const Window here = share(part, place);
    if (here.height <= 0 || here.width <= 0) return;
    inner_->gather(take(part, here, place, pool), inner_place(here, place), pool);
}

/// Where a share lies in what the inner term sees as its whole layer.
Place WindowTerm::inner_place(const Window& share, const Place& place) const {
    return {window_.height, window_.width, place.top + share.top - window_.top,
            place.left + share.left - window_.left};
}

double WindowTerm::pull(const FeatureMap& part, const Place& place, const Cotangent& cotangent,
                        ThreadPool& pool) {
    const Window here = share(part, place);
    if (here.height <= 0 || here.width <= 0) {
        if (cotangent.weight != 0.0 && !cotangent.add)
            std::fill(cotangent.map.data, cotangent.map.data + part.size(), 0.0f);
        return 0.0;
    }
    const FeatureMap inside = take(part, here, place, pool);
    Cotangent slopes{inside, cotangent.weight, false};
    reserve(slopes_, inside.size());
    slopes.map.data = slopes_.data();
    const double value = inner_->pull(inside, inner_place(here, place), slopes, pool);
    if (cotangent.weight != 0.0) give(slopes.map, here, place, cotangent, pool);
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
