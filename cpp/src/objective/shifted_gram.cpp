#include "fastsynth/objective/shifted_gram.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "fastsynth/common/error.hpp"

namespace fastsynth {

ShiftedGramTerm::ShiftedGramTerm(std::vector<float> targets, std::vector<int> shifts,
                                 std::vector<float> centre, double scale)
    : targets_(std::move(targets)),
      centre_(std::move(centre)),
      shifts_(std::move(shifts)),
      scale_(scale) {
    const std::size_t n = centre_.size();
    require(n > 0 && !shifts_.empty(), "shifted Gram matrices need a channel and a shift at least");
    require(targets_.size() == 2 * shifts_.size() * n * n, "for ", n, " channels and ",
            shifts_.size(), " shifts the targets have ", 2 * shifts_.size() * n * n,
            " values, not ", targets_.size());
    for (int shift : shifts_) require(shift > 0, "a shift is at least 1 position, not ", shift);
    require(std::isfinite(scale), "the scale must be finite");
    for (const auto* values : {&targets_, &centre_})
        for (float value : *values)
            require(std::isfinite(value),
                    "the target of a term holds values that are infinite or not a number");
}

void ShiftedGramTerm::bind(const FeatureMap& feature) {
    require(static_cast<std::size_t>(feature.channels) == centre_.size(), "the target has ",
            centre_.size(), " channels, the features have ", feature.channels);
}

/// ‖G - A‖² for one shift, and its gradient.
double ShiftedGramTerm::one(const FeatureMap& feature, const Cotangent& cotangent, int dx, int dy,
                            const float* target, ThreadPool& pool) {
    const auto n = static_cast<std::size_t>(feature.channels);
    const auto lanes = static_cast<std::size_t>(feature.block);
    const std::int64_t panels = feature.channels / feature.block;
    FeatureMap pair{pairs_.data(), 2 * feature.channels, feature.height - dy, feature.width - dx,
                    feature.block};
    const std::size_t line = static_cast<std::size_t>(feature.width) * lanes;
    const std::size_t run = static_cast<std::size_t>(pair.width) * lanes;

    // Side 0 is f(p), side 1 is f(p + d).
    pool.for_ranges(2 * panels * pair.height, 8, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t stacked = row / pair.height, panel = stacked % panels;
            const bool moved = stacked >= panels;
            const std::int64_t y = row % pair.height + (moved ? dy : 0);
            const float* from = feature.data +
                                static_cast<std::size_t>(panel * feature.height + y) * line +
                                static_cast<std::size_t>(moved ? dx : 0) * lanes;
            const float* centre = centre_.data() + static_cast<std::size_t>(panel) * lanes;
            float* to = pairs_.data() + static_cast<std::size_t>(row) * run;
            for (std::size_t i = 0; i < run; i += lanes)
                for (std::size_t l = 0; l < lanes; ++l) to[i + l] = from[i + l] - centre[l];
        }
    });
    product_.gram(pair, gram_.data(), pool);

    // The corner [n …, … n) is G; the slope of the whole is symmetric and lies in both corners.
    double squared = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        std::fill_n(gram_.data() + i * 2 * n, n, 0.0f);
        std::fill_n(gram_.data() + (n + i) * 2 * n + n, n, 0.0f);
        for (std::size_t j = 0; j < n; ++j) {
            float& found = gram_[(n + i) * 2 * n + j];
            const double d = static_cast<double>(found) - target[i * n + j];
            squared += d * d;
            found = gram_[j * 2 * n + n + i] = static_cast<float>(d);
        }
    }
    if (cotangent.weight == 0.0) return squared;
    FeatureMap slope = pair;
    slope.data = slopes_.data();
    product_.apply(pair, gram_.data(),
                   2.0 * scale_ * cotangent.weight / static_cast<double>(pair.positions()), slope,
                   false, pool);
    // Both sides fall on one map: a task has whole rows of it.
    pool.for_ranges(panels * feature.height, 8, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t panel = row / feature.height, y = row % feature.height;
            float* to = cotangent.map.data + static_cast<std::size_t>(row) * line;
            for (const bool moved : {false, true}) {
                const std::int64_t place = y - (moved ? dy : 0);
                if (place < 0 || place >= pair.height) continue;
                const std::int64_t stacked = panel + (moved ? panels : 0);
                const float* from =
                    slopes_.data() + static_cast<std::size_t>(stacked * pair.height + place) * run;
                float* at = to + static_cast<std::size_t>(moved ? dx : 0) * lanes;
                for (std::size_t i = 0; i < run; ++i) at[i] += from[i];
            }
        }
    });
    return squared;
}

double ShiftedGramTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                                 ThreadPool& pool) {
    const std::size_t n = centre_.size();
    if (pairs_.size() != 2 * feature.size()) {
        pairs_.resize(2 * feature.size());
        slopes_.resize(2 * feature.size());
        gram_.resize(4 * n * n);
    }
    if (cotangent.weight != 0.0 && !cotangent.add) {
        float* map = cotangent.map.data;
        pool.for_ranges(
            static_cast<std::int64_t>(feature.size()), 1 << 16,
            [&](std::int64_t begin, std::int64_t end) { std::fill(map + begin, map + end, 0.0f); });
    }
    double sum = 0.0;
    for (std::size_t k = 0; k < 2 * shifts_.size(); ++k) {
        const int d = shifts_[k % shifts_.size()];
        const bool along_x = k < shifts_.size();
        if (d >= (along_x ? feature.width : feature.height)) continue;
        sum += one(feature, cotangent, along_x ? d : 0, along_x ? 0 : d,
                   targets_.data() + k * n * n, pool);
    }
    return scale_ * sum;
}

}  // namespace fastsynth
