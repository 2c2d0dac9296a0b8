#include "fastsynth/objective/activation.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {
namespace {

constexpr std::size_t piece = 1024;         // values whose weights lie on the stack
constexpr std::int64_t grain = 32 * piece;  // values of one task

/// to ← from, or to ← to + from, with a factor.
void put(float factor, const float* from, float* to, std::size_t n, bool add) {
    if (add) {
        vector_kernels().axpy(factor, from, to, n);
        return;
    }
    for (std::size_t i = 0; i < n; ++i) to[i] = factor * from[i];
}

void clear(const Cotangent& cotangent, ThreadPool& pool) {
    if (cotangent.weight == 0.0 || cotangent.add) return;
    pool.for_ranges(static_cast<std::int64_t>(cotangent.map.size()), grain,
                    [&](std::int64_t begin, std::int64_t end) {
                        std::fill(cotangent.map.data + begin, cotangent.map.data + end, 0.0f);
                    });
}

}  // namespace

ActivationTerm::ActivationTerm(Measure measure, const std::vector<std::pair<int, double>>& channels)
    : measure_(measure), channels_(channels) {
    double total = 0.0;
    for (const auto& [channel, weight] : channels_) {
        require(channel >= 0, "a channel is numbered from 0, not ", channel);
        require(std::isfinite(weight), "the weight of channel ", channel, " must be finite, not ",
                weight);
        total += std::fabs(weight);
    }
    require(channels_.empty() || total > 0.0, "all weights of the channels are 0");
}

void ActivationTerm::place(double down, double across) {
    require(down >= 0.0 && down <= 1.0 && across >= 0.0 && across <= 1.0,
            "a neuron lies at shares of height and width from 0 to 1, not ", down, " and ", across);
    down_ = down;
    across_ = across;
}

void ActivationTerm::bind(const FeatureMap& feature) {
    for (const auto& entry : channels_)
        require(entry.first < feature.channels, "there is no channel ", entry.first,
                "; the layer has channels 0 to ", feature.channels - 1);
}

bool ActivationTerm::pattern(int panel, int block, std::size_t count, float* weights) const {
    const auto lanes = static_cast<std::size_t>(block);
    if (channels_.empty()) {
        std::fill(weights, weights + count, 1.0f);
        return true;
    }
    std::fill(weights, weights + count, 0.0f);
    bool any = false;
    for (const auto& [channel, weight] : channels_) {
        if (channel / block != panel) continue;
        any = true;
        for (auto i = static_cast<std::size_t>(channel % block); i < count; i += lanes)
            weights[i] += static_cast<float>(weight);
    }
    return any;
}

double ActivationTerm::evaluate_neuron(const FeatureMap& feature, const Cotangent& cotangent,
                                       ThreadPool& pool) const {
    const auto at = [](double share, int count) {
        return static_cast<std::size_t>(std::min(static_cast<int>(share * count), count - 1));
    };
    const std::size_t position =
        at(down_, feature.height) * static_cast<std::size_t>(feature.width) +
        at(across_, feature.width);
    const auto block = static_cast<std::size_t>(feature.block);
    double norm = 0.0;
    for (const auto& entry : channels_) norm += std::fabs(entry.second);
    if (channels_.empty()) norm = feature.channels;
    const double share = measure_ == Measure::mean ? 1.0 / norm : 1.0;

    clear(cotangent, pool);
    double sum = 0.0;
    const auto visit = [&](int channel, double weight) {
        const auto c = static_cast<std::size_t>(channel);
        const std::size_t index = (c / block * feature.positions() + position) * block + c % block;
        const double a = feature.data[index];
        const double slope = share * weight * (measure_ == Measure::energy ? a : 1.0);
        sum += measure_ == Measure::energy ? 0.5 * slope * a : slope * a;
        if (cotangent.weight != 0.0)
            cotangent.map.data[index] -= static_cast<float>(cotangent.weight * slope);
    };
    for (const auto& [channel, weight] : channels_) visit(channel, weight);
    if (channels_.empty())
        for (int channel = 0; channel < feature.channels; ++channel) visit(channel, 1.0);
    return -sum;
}

double ActivationTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                                ThreadPool& pool) {
    if (down_ >= 0.0) return evaluate_neuron(feature, cotangent, pool);
    const VectorKernels& kernels = vector_kernels();
    const bool energy = measure_ == Measure::energy;
    double scale = energy ? 0.5 : 1.0;  // of the value; the gradient of ½ a² is a
    if (measure_ == Measure::mean) {
        double norm = 0.0;
        for (const auto& entry : channels_) norm += std::fabs(entry.second);
        if (channels_.empty()) norm = feature.channels;
        scale = 1.0 / (norm * static_cast<double>(feature.positions()));
    }
    const auto slope = static_cast<float>(-cotangent.weight * (energy ? 1.0 : scale));

    // Tasks are stretches of one channel panel: [panel][stretch of positions · block values].
    const auto block = static_cast<std::size_t>(feature.block);
    const std::size_t line = feature.positions() * block;
    const std::size_t step = std::max<std::size_t>(piece / block, 1) * block;
    const std::size_t stretch = 32 * step;
    const std::size_t stretches = (line + stretch - 1) / stretch;
    const auto tasks =
        static_cast<std::int64_t>(static_cast<std::size_t>(feature.channels) / block * stretches);
    const double sum = pool.sum(tasks, 1, [&](std::int64_t task, std::int64_t) {
        std::vector<float> weights(step), weighted(step);
        const auto panel = static_cast<std::size_t>(task) / stretches;
        const std::size_t begin = static_cast<std::size_t>(task) % stretches * stretch,
                          end = std::min(line, begin + stretch);
        const float* a = feature.data + panel * line;
        float* out = cotangent.map.data + panel * line;
        if (!pattern(static_cast<int>(panel), feature.block, step, weights.data())) {
            if (cotangent.weight != 0.0 && !cotangent.add) std::fill(out + begin, out + end, 0.0f);
            return 0.0;
        }
        double total = 0.0;
        for (std::size_t i = begin; i < end; i += step) {
            const std::size_t n = std::min(step, end - i);
            const float* slopes = weights.data();
            if (energy) {
                for (std::size_t j = 0; j < n; ++j) weighted[j] = weights[j] * a[i + j];
                slopes = weighted.data();
            }
            total += kernels.dot(slopes, a + i, n);
            if (cotangent.weight != 0.0) put(slope, slopes, out + i, n, cotangent.add);
        }
        return total;
    });
    return -scale * sum;
}

GuidedTerm::GuidedTerm(const float* guide, int channels, int count, Match match)
    : channels_(channels), count_(count), match_(match) {
    require(channels > 0 && count > 0, "a guide needs at least one feature, not ", channels, " x ",
            count);
    const auto c = static_cast<std::size_t>(channels), q = static_cast<std::size_t>(count);
    require(std::isfinite(vector_kernels().max_abs(guide, c * q)),
            "the guide holds values that are infinite or not a number");
    rows_.resize(c * q);
    offsets_.resize(q);
    for (std::size_t i = 0; i < c; ++i)
        for (std::size_t j = 0; j < q; ++j) rows_[j * c + i] = guide[i * q + j];
    if (match == Match::nearest)
        for (std::size_t j = 0; j < q; ++j)
            offsets_[j] = static_cast<float>(
                0.5 * vector_kernels().dot(rows_.data() + j * c, rows_.data() + j * c, c));
    const std::size_t blocks = (q + c - 1) / c;
    columns_.resize(blocks * c * c);
    for (std::size_t j = 0; j < q; ++j)
        for (std::size_t i = 0; i < c; ++i)
            columns_[(j / c * c + i) * c + j % c] = rows_[j * c + i];
}

void GuidedTerm::bind(const FeatureMap& feature) {
    require(feature.channels == channels_, "the guide has ", channels_,
            " channels, the features have ", feature.channels);
}

/// best_[p] ← the q of the largest a_p · g_q - offset_q.
void GuidedTerm::choose(const FeatureMap& feature, ThreadPool& pool) {
    const std::size_t positions = feature.positions();
    if (scores_.size() != feature.size()) scores_.resize(feature.size());
    best_score_.resize(positions);
    best_.resize(positions);
    const auto c = static_cast<std::size_t>(channels_), q = static_cast<std::size_t>(count_);
    const auto lanes = static_cast<std::size_t>(feature.block);
    FeatureMap scores = feature;
    scores.data = scores_.data();
    for (std::size_t first = 0; first < q; first += c) {
        // The product wants a square matrix: missing columns are 0 and not looked at.
        product_.apply(feature, columns_.data() + first * c, 1.0, scores, false, pool);
        const std::size_t used = std::min(c, q - first);
        pool.for_ranges(
            static_cast<std::int64_t>(positions), 512, [&](std::int64_t begin, std::int64_t end) {
                for (auto p = static_cast<std::size_t>(begin); p < static_cast<std::size_t>(end);
                     ++p) {
                    float top = first ? best_score_[p] : -std::numeric_limits<float>::infinity();
                    int at = first ? best_[p] : 0;
                    for (std::size_t j = 0; j < used; ++j) {
                        const float score =
                            scores_[(j / lanes * positions + p) * lanes + j % lanes] -
                            offsets_[first + j];
                        if (score > top) {
                            top = score;
                            at = static_cast<int>(first + j);
                        }
                    }
                    best_score_[p] = top;
                    best_[p] = at;
                }
            });
    }
}

double GuidedTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                            ThreadPool& pool) {
    choose(feature, pool);
    const std::size_t positions = feature.positions();
    const auto c = static_cast<std::size_t>(channels_);
    const auto lanes = static_cast<std::size_t>(feature.block);
    const bool nearest = match_ == Match::nearest, write = cotangent.weight != 0.0;
    const auto weight = static_cast<float>(cotangent.weight);
    const double sum = pool.sum(
        static_cast<std::int64_t>(positions), 512, [&](std::int64_t begin, std::int64_t end) {
            double total = 0.0;
            for (std::size_t panel = 0; panel < c / lanes; ++panel)
                for (auto p = static_cast<std::size_t>(begin); p < static_cast<std::size_t>(end);
                     ++p) {
                    const std::size_t at = (panel * positions + p) * lanes;
                    const float* a = feature.data + at;
                    const float* g =
                        rows_.data() + static_cast<std::size_t>(best_[p]) * c + panel * lanes;
                    float* out = cotangent.map.data + at;
                    for (std::size_t i = 0; i < lanes; ++i) {
                        const double distance = static_cast<double>(a[i]) - g[i];
                        total +=
                            nearest ? 0.5 * distance * distance : -static_cast<double>(a[i]) * g[i];
                        if (!write) continue;
                        const float slope = weight * (nearest ? a[i] - g[i] : -g[i]);
                        out[i] = cotangent.add ? out[i] + slope : slope;
                    }
                }
            return total;
        });
    return sum;
}

}  // namespace fastsynth
