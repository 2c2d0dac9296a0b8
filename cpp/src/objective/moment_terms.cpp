#include "fastsynth/objective/moment_terms.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "fastsynth/common/error.hpp"

namespace fastsynth {
namespace {

// Beneath this share of the mean square, a variance is rounding; √ has no slope at 0.
constexpr double smallest_variance = 1e-10;

}  // namespace

MomentsTerm::MomentsTerm(std::vector<float> mean, std::vector<float> second, SecondMoment kind,
                         double mean_weight, double second_weight)
    : channels_(static_cast<int>(mean.size())),
      kind_(kind),
      mean_weight_(mean_weight),
      second_weight_(second_weight),
      mean_target_(std::move(mean)),
      second_target_(std::move(second)),
      mean_(mean_target_.size()),
      scatter_(mean_target_.size()) {
    const std::size_t n = mean_target_.size();
    require(n > 0, "a target of moments needs at least one channel");
    std::size_t wanted = n * n;
    if (kind == SecondMoment::none) wanted = 0;
    if (kind == SecondMoment::deviation) wanted = n;
    require(second_target_.size() == wanted, "for ", n, " channels the second moments have ",
            wanted, " values, not ", second_target_.size());
    require(std::isfinite(mean_weight) && std::isfinite(second_weight),
            "the weights of moments must be finite");
    for (const auto* values : {&mean_target_, &second_target_})
        for (float value : *values)
            require(std::isfinite(value),
                    "the target of a term holds values that are infinite or not a number");
    if (wanted == n * n) gram_.resize(n * n);
}

void MomentsTerm::bind(const FeatureMap& feature) {
    require(feature.channels == channels_, "the target of moments has ", channels_,
            " channels, the features have ", feature.channels);
}

void MomentsTerm::start() {
    positions_ = 0.0;
    std::fill(mean_.begin(), mean_.end(), 0.0);
    std::fill(scatter_.begin(), scatter_.end(), 0.0);
    sums_.clear();
}

/// Means, and scatter where variances are wanted, in float64. Parts are joined after Chan, Golub
/// and LeVeque (1979): μ = μₐ + (μ_b - μₐ) n_b / n,  S = Sₐ + S_b + (μ_b - μₐ)² nₐ n_b / n.
void MomentsTerm::measure(const FeatureMap& part, ThreadPool& pool) {
    const auto lanes = static_cast<std::size_t>(part.block);
    const std::size_t positions = part.positions();
    const bool variances = kind_ == SecondMoment::deviation;
    const double before = positions_, here = static_cast<double>(positions);
    pool.for_ranges(channels_ / part.block, 1, [&](std::int64_t begin, std::int64_t end) {
        std::vector<double> sums(lanes), squares(lanes);
        std::vector<float> piece(lanes);
        for (std::int64_t panel = begin; panel < end; ++panel) {
            const float* from = part.data + static_cast<std::size_t>(panel) * positions * lanes;
            double* mean = mean_.data() + static_cast<std::size_t>(panel) * lanes;
            double* scatter = scatter_.data() + static_cast<std::size_t>(panel) * lanes;
            std::fill(sums.begin(), sums.end(), 0.0);
            // Pieces of 64 positions in float32, the pieces in float64.
            for (std::size_t p = 0; p < positions;) {
                std::fill(piece.begin(), piece.end(), 0.0f);
                const std::size_t stop = std::min(positions, p + 64);
                for (; p < stop; ++p)
                    for (std::size_t l = 0; l < lanes; ++l) piece[l] += from[p * lanes + l];
                for (std::size_t l = 0; l < lanes; ++l) sums[l] += piece[l];
            }
            for (std::size_t l = 0; l < lanes; ++l) sums[l] /= here;
            if (variances) {
                std::fill(squares.begin(), squares.end(), 0.0);
                for (std::size_t p = 0; p < positions; ++p)
                    for (std::size_t l = 0; l < lanes; ++l) {
                        const double d = from[p * lanes + l] - sums[l];
                        squares[l] += d * d;
                    }
            }
            for (std::size_t l = 0; l < lanes; ++l) {
                const double d = sums[l] - mean[l];
                scatter[l] += squares[l] + d * d * before * here / (before + here);
                mean[l] += d * here / (before + here);
            }
        }
    });
    positions_ += here;
}

void MomentsTerm::gather(const FeatureMap& part, const Place&, ThreadPool& pool) {
    measure(part, pool);
    if (!has_matrix()) return;
    if (gram_.empty()) gram_.resize(static_cast<std::size_t>(channels_) * channels_);
    sums_.add(part, product_, gram_.data(), pool);
}

std::vector<double> MomentsTerm::variance() const {
    std::vector<double> result(scatter_);
    for (double& value : result) value /= positions_;
    return result;
}

std::vector<float> MomentsTerm::gram() const {
    std::vector<float> result(static_cast<std::size_t>(channels_) * channels_);
    sums_.read(result.data());
    return result;
}

/// The gradient is  slope(c) · (F - μ) + matrix · F + constant(c),  all of it over M.
double MomentsTerm::settle() {
    if (positions_ == 0.0) return 0.0;
    const auto n = static_cast<std::size_t>(channels_);
    constant_.assign(n, 0.0);
    slope_.assign(n, 0.0);
    double means = 0.0, seconds = 0.0;
    for (std::size_t c = 0; c < n; ++c) {
        const double d = mean_[c] - mean_target_[c];
        means += d * d;
        constant_[c] = 2.0 * mean_weight_ * d;
    }
    if (kind_ == SecondMoment::deviation) {
        for (std::size_t c = 0; c < n; ++c) {
            const double variance = scatter_[c] / positions_;
            const double floor = smallest_variance * (mean_[c] * mean_[c] + 1e-12);
            const double sigma = std::sqrt(std::max(variance, floor));
            const double d = sigma - second_target_[c];
            seconds += d * d;
            if (variance > floor) slope_[c] = 2.0 * second_weight_ * d / sigma;
        }
    } else if (has_matrix()) {
        sums_.read(gram_.data());
        rms_ = features_rms(gram_.data(), channels_);
        for (std::size_t i = 0; i < n; ++i) {
            double turned = 0.0;
            for (std::size_t j = 0; j < n; ++j) {
                double s = gram_[i * n + j];
                if (kind_ == SecondMoment::covariance) s -= mean_[i] * mean_[j];
                const double d = s - second_target_[i * n + j];
                gram_[i * n + j] = static_cast<float>(d);
                seconds += d * d;
                turned += d * mean_[j];
            }
            if (kind_ == SecondMoment::covariance) constant_[i] -= 4.0 * second_weight_ * turned;
        }
    }
    return mean_weight_ * means + second_weight_ * seconds;
}

double MomentsTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                             ThreadPool& pool) {
    const Place everywhere{feature.height, feature.width, 0, 0};
    start();
    gather(feature, everywhere, pool);
    const double value = settle();
    if (cotangent.weight != 0.0) pull(feature, everywhere, cotangent, pool);
    return value;
}

double MomentsTerm::pull(const FeatureMap& part, const Place&, const Cotangent& cotangent,
                         ThreadPool& pool) {
    const double factor = cotangent.weight / positions_;
    bool add = cotangent.add;
    if (has_matrix()) {
        product_.apply(part, gram_.data(), 4.0 * second_weight_ * factor, cotangent.map, add, pool,
                       rms_);
        add = true;
        if (kind_ == SecondMoment::gram && mean_weight_ == 0.0) return 0.0;
    }
    const auto lanes = static_cast<std::size_t>(part.block);
    const std::size_t positions = part.positions();
    pool.for_ranges(channels_ / part.block, 1, [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> a(lanes), b(lanes);
        for (std::int64_t panel = begin; panel < end; ++panel) {
            for (std::size_t l = 0; l < lanes; ++l) {
                const std::size_t c = static_cast<std::size_t>(panel) * lanes + l;
                a[l] = static_cast<float>(factor * slope_[c]);
                b[l] = static_cast<float>(factor * (constant_[c] - slope_[c] * mean_[c]));
            }
            const std::size_t start = static_cast<std::size_t>(panel) * positions * lanes;
            const float* from = part.data + start;
            float* to = cotangent.map.data + start;
            if (!add) std::fill(to, to + positions * lanes, 0.0f);
            for (std::size_t p = 0; p < positions; ++p)
                for (std::size_t l = 0; l < lanes; ++l)
                    to[p * lanes + l] += a[l] * from[p * lanes + l] + b[l];
        }
    });
    return 0.0;
}

}  // namespace fastsynth
