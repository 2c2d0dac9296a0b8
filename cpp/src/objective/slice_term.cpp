#include "fastsynth/objective/slice_term.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {
namespace {

/// A number that looks random, from a counter (the finaliser of SplitMix64).
std::uint64_t scramble(std::uint64_t i) {
    i += 0x9e3779b97f4a7c15ULL;
    i = (i ^ (i >> 30)) * 0xbf58476d1ce4e5b9ULL;
    i = (i ^ (i >> 27)) * 0x94d049bb133111ebULL;
    return i ^ (i >> 31);
}

/// The i-th of `count` places among `positions`.
std::size_t place(std::size_t i, std::size_t count, std::size_t positions) {
    if (count == positions) return i;
    const std::size_t begin = i * positions / count, end = (i + 1) * positions / count;
    return begin + static_cast<std::size_t>(scramble(i) % (end - begin));
}

}  // namespace

SliceTerm::SliceTerm(std::vector<float> directions, int channels, std::vector<float> phases,
                     std::vector<float> targets, double scale, int most)
    : directions_(std::move(directions)),
      phases_(std::move(phases)),
      targets_(std::move(targets)),
      channels_(channels),
      scale_(scale) {
    require(channels > 0 && !directions_.empty() &&
                directions_.size() % static_cast<std::size_t>(channels) == 0,
            "directions must be (count, channels) with at least one each");
    require(most > 0, "at least one position must be looked at, not ", most);
    require(std::isfinite(scale), "the scale must be finite");
    most_ = static_cast<std::size_t>(most);
    count_ = directions_.size() / static_cast<std::size_t>(channels);
    require(!targets_.empty() && targets_.size() % count_ == 0,
            "targets must have as many rows as there are directions, ", count_);
    for (const auto* values : {&directions_, &phases_, &targets_})
        for (float value : *values)
            require(std::isfinite(value),
                    "the target of a term holds values that are infinite or not a number");
}

SliceTerm SliceTerm::quantiles(std::vector<float> directions, int channels,
                               std::vector<float> targets, double scale, int most) {
    return {std::move(directions), channels, {}, std::move(targets), scale, most};
}

SliceTerm SliceTerm::cosines(std::vector<float> directions, int channels, std::vector<float> phases,
                             std::vector<float> targets, double scale, int most) {
    require(!phases.empty() && phases.size() == targets.size(),
            "there must be one phase and one target for each direction");
    SliceTerm term(std::move(directions), channels, std::move(phases), std::move(targets), scale,
                   most);
    require(term.phases_.size() == term.count_, "there must be one phase for each direction");
    return term;
}

std::vector<std::size_t> SliceTerm::places(std::size_t positions) const {
    std::vector<std::size_t> chosen(std::min(most_, positions));
    for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = place(i, chosen.size(), positions);
    return chosen;
}

void SliceTerm::bind(const FeatureMap& feature) {
    require(feature.channels == channels_, "the directions are of ", channels_,
            " channels, the features have ", feature.channels);
}

/// Value of direction d; its z become their derivatives. Without the scale.
double SliceTerm::row(std::size_t d, std::size_t count) {
    float* z = values_.data() + d * count;
    const double share = 1.0 / static_cast<double>(count);
    if (!phases_.empty()) {
        double sum = 0.0;
        for (std::size_t p = 0; p < count; ++p)
            sum += std::cos(static_cast<double>(z[p]) + phases_[d]);
        const double distance = sum * share - targets_[d];
        for (std::size_t p = 0; p < count; ++p)
            z[p] = static_cast<float>(-2.0 * distance * share *
                                      std::sin(static_cast<double>(z[p]) + phases_[d]));
        return distance * distance;
    }
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    // Equal values stand in the order of their places, so that sorting has one result.
    std::sort(order.begin(), order.end(), [z](std::uint32_t a, std::uint32_t b) {
        return z[a] < z[b] || (z[a] == z[b] && a < b);
    });
    const std::size_t known = targets_.size() / count_;
    const float* target = targets_.data() + d * known;
    double sum = 0.0;
    for (std::size_t r = 0; r < count; ++r) {
        // The target's quantiles stand for the ranks (i + 1/2) / known.
        const double at =
            std::clamp((static_cast<double>(r) + 0.5) * share * static_cast<double>(known) - 0.5,
                       0.0, static_cast<double>(known - 1));
        const auto i = static_cast<std::size_t>(at);
        const double t = at - static_cast<double>(i);
        const double wanted = target[i] + t * (target[std::min(i + 1, known - 1)] - target[i]);
        const double distance = z[order[r]] - wanted;
        sum += distance * distance;
        z[order[r]] = static_cast<float>(2.0 * share * distance);
    }
    return sum * share;
}

double SliceTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                           ThreadPool& pool) {
    const auto channels = static_cast<std::size_t>(channels_);
    const auto lanes = static_cast<std::size_t>(feature.block);
    const std::size_t positions = feature.positions();
    const std::size_t count = std::min(most_, positions);
    const VectorKernels& vectors = vector_kernels();
    features_.resize(count * channels);
    values_.resize(count_ * count);

    pool.for_ranges(
        static_cast<std::int64_t>(count), 64, [&](std::int64_t begin, std::int64_t end) {
            for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
                float* f = features_.data() + i * channels;
                const std::size_t p = place(i, count, positions);
                for (std::size_t c = 0; c < channels; ++c)
                    f[c] = feature.data[(c / lanes * positions + p) * lanes + c % lanes];
                for (std::size_t d = 0; d < count_; ++d)
                    values_[d * count + i] = static_cast<float>(
                        vectors.dot(directions_.data() + d * channels, f, channels));
            }
        });
    // One row at a time, in float64: the sum is the same for any number of threads.
    const double sum =
        pool.sum(static_cast<std::int64_t>(count_), 1, [&](std::int64_t begin, std::int64_t end) {
            double total = 0.0;
            for (std::int64_t d = begin; d < end; ++d)
                total += row(static_cast<std::size_t>(d), count);
            return total;
        });
    if (cotangent.weight == 0.0) return scale_ * sum;

    if (!cotangent.add) std::fill(cotangent.map.data, cotangent.map.data + feature.size(), 0.0f);
    const auto factor = static_cast<float>(cotangent.weight * scale_);
    pool.for_ranges(
        static_cast<std::int64_t>(count), 64, [&](std::int64_t begin, std::int64_t end) {
            std::vector<float> slope(channels);
            for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
                std::fill(slope.begin(), slope.end(), 0.0f);
                for (std::size_t d = 0; d < count_; ++d)
                    vectors.axpy(factor * values_[d * count + i], directions_.data() + d * channels,
                                 slope.data(), channels);
                const std::size_t p = place(i, count, positions);
                for (std::size_t c = 0; c < channels; ++c)
                    cotangent.map.data[(c / lanes * positions + p) * lanes + c % lanes] += slope[c];
            }
        });
    return scale_ * sum;
}

}  // namespace fastsynth
