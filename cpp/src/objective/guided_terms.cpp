#include "fastsynth/objective/guided_terms.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "fastsynth/common/error.hpp"

namespace fastsynth {
namespace {

constexpr std::int64_t grain = 256;  // positions to a task: results do not depend on it

void require_finite(const std::vector<float>& values, const char* what) {
    for (float value : values) require(std::isfinite(value), what, " must be finite, not ", value);
}

}  // namespace

GatherTerm::GatherTerm(std::shared_ptr<LayerTerm> inner, int rows, int columns,
                       std::vector<std::int32_t> positions, std::vector<float> roots)
    : inner_(std::move(inner)),
      rows_(rows),
      columns_(columns),
      positions_(std::move(positions)),
      roots_(std::move(roots)) {
    require(inner_ != nullptr, "the term behind a view must not be None");
    require(rows > 0 && columns > 0, "positions are taken from at least 1 x 1, not ", rows, " x ",
            columns);
    require(!positions_.empty(), "a region has at least one position");
    const std::int64_t all = static_cast<std::int64_t>(rows) * columns;
    std::int64_t last = -1;
    for (std::int32_t position : positions_) {
        require(position > last && position < all, "positions are indices below ", all,
                " in ascending order, not ", position, " after ", last);
        last = position;
    }
    require(roots_.empty() || roots_.size() == positions_.size(), "there are ", positions_.size(),
            " positions and ", roots_.size(), " roots of weights");
    require_finite(roots_, "roots of weights");
}

void GatherTerm::bind(const FeatureMap& feature) {
    require(feature.height == rows_ && feature.width == columns_, "the region is one of ", rows_,
            " x ", columns_, " positions, the features have ", feature.height, " x ",
            feature.width);
    inside_ = {nullptr, feature.channels, 1, static_cast<int>(positions_.size()), feature.block};
    if (features_.size() != inside_.size()) {
        features_.resize(inside_.size());
        slopes_.resize(inside_.size());
    }
    inside_.data = features_.data();
    inner_->bind(inside_);
}

double GatherTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                            ThreadPool& pool) {
    if (feature.block != inside_.block || feature.channels != inside_.channels) bind(feature);
    const auto lanes = static_cast<std::size_t>(feature.block);
    const std::size_t count = positions_.size(), all = feature.positions();
    const std::int64_t panels = feature.channels / feature.block;
    const auto pieces = (static_cast<std::int64_t>(count) + grain - 1) / grain;
    const float* roots = roots_.empty() ? nullptr : roots_.data();

    // A task is a piece of the positions in one panel.
    const auto in_pieces = [&](auto work) {
        pool.for_ranges(panels * pieces, 4, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t task = begin; task < end; ++task) {
                const auto panel = static_cast<std::size_t>(task / pieces);
                const auto first = static_cast<std::size_t>(task % pieces * grain);
                work(panel, first, std::min(count, first + static_cast<std::size_t>(grain)));
            }
        });
    };
    in_pieces([&](std::size_t panel, std::size_t first, std::size_t last) {
        const float* map = feature.data + panel * all * lanes;
        float* to = features_.data() + (panel * count + first) * lanes;
        for (std::size_t i = first; i < last; ++i, to += lanes) {
            const float* from = map + static_cast<std::size_t>(positions_[i]) * lanes;
            const float root = roots ? roots[i] : 1.0f;
            for (std::size_t l = 0; l < lanes; ++l) to[l] = root * from[l];
        }
    });

    Cotangent inside{inside_, cotangent.weight, false};
    inside.map.data = slopes_.data();
    const double value = inner_->evaluate(inside_, inside, pool);
    if (cotangent.weight == 0.0) return value;

    float* map = cotangent.map.data;
    if (!cotangent.add)
        pool.for_ranges(
            static_cast<std::int64_t>(feature.size()), 1 << 16,
            [&](std::int64_t begin, std::int64_t end) { std::fill(map + begin, map + end, 0.0f); });
    in_pieces([&](std::size_t panel, std::size_t first, std::size_t last) {
        const float* from = slopes_.data() + (panel * count + first) * lanes;
        for (std::size_t i = first; i < last; ++i, from += lanes) {
            float* to = map + (panel * all + static_cast<std::size_t>(positions_[i])) * lanes;
            const float root = roots ? roots[i] : 1.0f;
            for (std::size_t l = 0; l < lanes; ++l) to[l] += root * from[l];
        }
    });
    return value;
}

GaussianTerm::GaussianTerm(int channels, std::vector<float> roots)
    : channels_(channels), roots_(std::move(roots)) {
    require(channels > 0, "a target of moments needs at least one channel");
    require_finite(roots_, "roots of weights");
    const auto n = static_cast<std::size_t>(channels);
    mean_.resize(n);
    covariance_.resize(n * n);
}

void GaussianTerm::bind(const FeatureMap& feature) {
    require(feature.channels == channels_, "the target of moments has ", channels_,
            " channels, the features have ", feature.channels);
    require(roots_.empty() || roots_.size() == feature.positions(), "there are ", roots_.size(),
            " roots of weights for ", feature.positions(), " positions");
}

/// μ in float64: pieces of 64 positions in float32, the pieces in float64.
void GaussianTerm::measure(const FeatureMap& feature, ThreadPool& pool) {
    const auto lanes = static_cast<std::size_t>(feature.block);
    const std::size_t positions = feature.positions();
    pool.for_ranges(channels_ / feature.block, 1, [&](std::int64_t begin, std::int64_t end) {
        std::vector<double> sums(lanes);
        std::vector<float> part(lanes);
        for (std::int64_t panel = begin; panel < end; ++panel) {
            const float* from = feature.data + static_cast<std::size_t>(panel) * positions * lanes;
            std::fill(sums.begin(), sums.end(), 0.0);
            for (std::size_t p = 0; p < positions;) {
                std::fill(part.begin(), part.end(), 0.0f);
                const std::size_t stop = std::min(positions, p + 64);
                for (; p < stop; ++p) {
                    const float root = roots_.empty() ? 1.0f : roots_[p];
                    for (std::size_t l = 0; l < lanes; ++l) part[l] += root * from[p * lanes + l];
                }
                for (std::size_t l = 0; l < lanes; ++l) sums[l] += part[l];
            }
            for (std::size_t l = 0; l < lanes; ++l)
                mean_[static_cast<std::size_t>(panel) * lanes + l] =
                    sums[l] / static_cast<double>(positions);
        }
    });
}

double GaussianTerm::evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                              ThreadPool& pool) {
    const auto n = static_cast<std::size_t>(channels_);
    const std::size_t positions = feature.positions();
    measure(feature, pool);
    product_.gram(feature, covariance_.data(), pool);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j)
            covariance_[i * n + j] =
                static_cast<float>(covariance_[i * n + j] - mean_[i] * mean_[j]);
    std::vector<double> slope(n);
    const double value = judge(mean_, covariance_.data(), slope);
    if (cotangent.weight == 0.0) return value;

    const double factor = cotangent.weight / static_cast<double>(positions);
    std::vector<float> constant(n);
    for (std::size_t i = 0; i < n; ++i) {
        double turned = 0.0;
        for (std::size_t j = 0; j < n; ++j) turned += covariance_[i * n + j] * mean_[j];
        constant[i] = static_cast<float>(factor * (slope[i] - 2.0 * turned));
    }
    product_.apply(feature, covariance_.data(), 2.0 * factor, cotangent.map, cotangent.add, pool);
    const auto lanes = static_cast<std::size_t>(feature.block);
    pool.for_ranges(channels_ / feature.block, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t panel = begin; panel < end; ++panel) {
            const float* add = constant.data() + static_cast<std::size_t>(panel) * lanes;
            float* to = cotangent.map.data + static_cast<std::size_t>(panel) * positions * lanes;
            for (std::size_t p = 0; p < positions; ++p) {
                const float root = roots_.empty() ? 1.0f : roots_[p];
                for (std::size_t l = 0; l < lanes; ++l) to[p * lanes + l] += root * add[l];
            }
        }
    });
    return value;
}

CovarianceTerm::CovarianceTerm(std::vector<float> mean, std::vector<float> covariance,
                               double mean_weight, double covariance_weight,
                               std::vector<float> roots)
    : GaussianTerm(static_cast<int>(mean.size()), std::move(roots)),
      mean_target_(std::move(mean)),
      covariance_target_(std::move(covariance)),
      mean_weight_(mean_weight),
      covariance_weight_(covariance_weight) {
    const std::size_t n = mean_target_.size();
    require(covariance_target_.size() == n * n, "for ", n, " channels the covariance has ", n * n,
            " values, not ", covariance_target_.size());
    require(std::isfinite(mean_weight) && std::isfinite(covariance_weight),
            "the weights of moments must be finite");
    require_finite(mean_target_, "a target's means");
    require_finite(covariance_target_, "a target's covariances");
}

double CovarianceTerm::judge(const std::vector<double>& mean, float* covariance,
                             std::vector<double>& slope) {
    const std::size_t n = mean.size();
    double means = 0.0, seconds = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        const double d = mean[i] - mean_target_[i];
        means += d * d;
        slope[i] = 2.0 * mean_weight_ * d;
        for (std::size_t j = 0; j < n; ++j) {
            const double e =
                static_cast<double>(covariance[i * n + j]) - covariance_target_[i * n + j];
            seconds += e * e;
            covariance[i * n + j] = static_cast<float>(2.0 * covariance_weight_ * e);
        }
    }
    return mean_weight_ * means + covariance_weight_ * seconds;
}

}  // namespace fastsynth
