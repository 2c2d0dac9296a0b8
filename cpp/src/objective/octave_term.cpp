#include "fastsynth/objective/octave_term.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "fastsynth/common/error.hpp"

namespace fastsynth {
namespace {

constexpr float taps[5] = {0.05f, 0.25f, 0.4f, 0.25f, 0.05f};

/// Reflection about the first and last of `size` places.
int reflected(int i, int size) {
    if (size == 1) return 0;
    const int period = 2 * (size - 1);
    i = ((i % period) + period) % period;
    return i < size ? i : period - i;
}

}  // namespace

void reduce_octave(const float* plane, int height, int width, float* reduced) {
    const int rows = octave_size(height), columns = octave_size(width);
    std::vector<float> line(static_cast<std::size_t>(width));
    for (int y = 0; y < rows; ++y) {
        std::fill(line.begin(), line.end(), 0.0f);
        for (int t = 0; t < 5; ++t) {
            const float* from =
                plane + static_cast<std::size_t>(reflected(2 * y + t - 2, height)) * width;
            for (int x = 0; x < width; ++x) line[static_cast<std::size_t>(x)] += taps[t] * from[x];
        }
        float* to = reduced + static_cast<std::size_t>(y) * columns;
        for (int x = 0; x < columns; ++x) {
            float sum = 0.0f;
            for (int t = 0; t < 5; ++t)
                sum += taps[t] * line[static_cast<std::size_t>(reflected(2 * x + t - 2, width))];
            to[x] = sum;
        }
    }
}

void expand_octave(const float* reduced, int height, int width, float* plane) {
    const int rows = octave_size(height), columns = octave_size(width);
    std::vector<float> line(static_cast<std::size_t>(width));
    for (int y = 0; y < rows; ++y) {
        std::fill(line.begin(), line.end(), 0.0f);
        const float* from = reduced + static_cast<std::size_t>(y) * columns;
        for (int x = 0; x < columns; ++x)
            for (int t = 0; t < 5; ++t)
                line[static_cast<std::size_t>(reflected(2 * x + t - 2, width))] +=
                    taps[t] * from[x];
        for (int t = 0; t < 5; ++t) {
            float* to = plane + static_cast<std::size_t>(reflected(2 * y + t - 2, height)) * width;
            for (int x = 0; x < width; ++x) to[x] += taps[t] * line[static_cast<std::size_t>(x)];
        }
    }
}

OctaveTerm::OctaveTerm(std::shared_ptr<Objective> inner, int octaves)
    : inner_(std::move(inner)), octaves_(octaves) {
    require(inner_ != nullptr, "the objective of an octave must not be None");
    require(octaves >= 1 && octaves <= 16, "octaves must be from 1 to 16, not ", octaves);
}

double OctaveTerm::evaluate(const float* image, int height, int width, double weight,
                            float* gradient, ThreadPool& pool) {
    std::vector<int> heights{height}, widths{width};
    for (int k = 0; k < octaves_; ++k) {
        heights.push_back(octave_size(heights.back()));
        widths.push_back(octave_size(widths.back()));
    }
    const auto plane = [&](int k) {
        const auto at = static_cast<std::size_t>(k);
        return static_cast<std::size_t>(heights[at]) * static_cast<std::size_t>(widths[at]);
    };
    require(inner_->size() == 3 * plane(octaves_), "the image of ", height, " x ", width,
            " pixels, reduced ", octaves_, " times, has ", 3 * plane(octaves_),
            " values; its objective has ", inner_->size());
    images_.resize(static_cast<std::size_t>(octaves_));
    slopes_.resize(static_cast<std::size_t>(octaves_));
    for (int k = 1; k <= octaves_; ++k) {
        const auto i = static_cast<std::size_t>(k - 1);
        if (images_[i].size() != 3 * plane(k)) {
            images_[i].resize(3 * plane(k));
            slopes_[i].resize(3 * plane(k));
        }
        const float* from = k == 1 ? image : images_[i - 1].data();
        pool.run(3, [&](std::int64_t c, int) {
            const auto channel = static_cast<std::size_t>(c);
            reduce_octave(from + channel * plane(k - 1), heights[i], widths[i],
                          images_[i].data() + channel * plane(k));
        });
    }
    const double value = inner_->evaluate(images_.back().data(), slopes_.back().data());
    if (weight == 0.0) return value;
    const auto factor = static_cast<float>(weight);
    for (float& slope : slopes_.back()) slope *= factor;
    for (int k = octaves_; k >= 1; --k) {
        const auto i = static_cast<std::size_t>(k - 1);
        float* to = k == 1 ? gradient : slopes_[i - 1].data();
        if (k > 1) std::fill_n(to, 3 * plane(k - 1), 0.0f);
        pool.run(3, [&](std::int64_t c, int) {
            const auto channel = static_cast<std::size_t>(c);
            expand_octave(slopes_[i].data() + channel * plane(k), heights[i], widths[i],
                          to + channel * plane(k - 1));
        });
    }
    return value;
}

}  // namespace fastsynth
