// What is made of a field: an image by voting, the use of the source, its coherence.
#include <algorithm>
#include <cmath>
#include <limits>

#include "fastsynth/common/error.hpp"
#include "fastsynth/synthesize/patch_field.hpp"

namespace fastsynth {
namespace {

// Where much of the target asks for little of the source, as a wide sky does, a limit keeps patches
// from fleeing to what does not fit at all.
constexpr double most_excess = 3.0;

std::size_t pixels(Extent size) {
    return static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width);
}

}  // namespace

double PatchField::mean_of_distances(ThreadPool& pool) const {
    const auto count = static_cast<std::int64_t>(distances_.size());
    const double sum = pool.sum(count, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
        double part = 0.0;
        for (auto i = begin; i < end; ++i)
            part += static_cast<double>(distances_[static_cast<std::size_t>(i)]);
        return part;
    });
    return std::max(1e-12, sum / static_cast<double>(count));
}

void PatchField::set_uniformity(double uniformity, ThreadPool& pool) {
    refresh(pool);
    const int height = choices_.height, width = choices_.width;
    // Running sums of the number of uses over a window of patch × patch corners. (A summed table
    // of integers: exact.)
    std::vector<std::int64_t> table(
        static_cast<std::size_t>(height + 1) * static_cast<std::size_t>(width + 1), 0);
    const auto cell = [&](int y, int x) -> std::int64_t& {
        return table[static_cast<std::size_t>(y) * static_cast<std::size_t>(width + 1) +
                     static_cast<std::size_t>(x)];
    };
    for (std::size_t i = 0; i < pixels(field_); ++i)
        ++cell(places_[2 * i] + 1, places_[2 * i + 1] + 1);
    for (int y = 1; y <= height; ++y)
        for (int x = 1; x <= width; ++x)
            cell(y, x) += cell(y - 1, x) + cell(y, x - 1) - cell(y - 1, x - 1);
    const double mean = mean_of_distances(pool);
    std::int64_t open = 0;
    for (std::uint8_t b : blocked_) open += !b;
    const double density = static_cast<double>(pixels(field_)) / static_cast<double>(open);
    const int reach = patch_ / 2;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            const std::size_t i = choice(y, x);
            if (blocked_[i]) continue;
            const int top = std::max(0, y - reach), bottom = std::min(height, y + reach + 1);
            const int left = std::max(0, x - reach), right = std::min(width, x + reach + 1);
            const std::int64_t uses =
                cell(bottom, right) - cell(top, right) - cell(bottom, left) + cell(top, left);
            const double expected = density * (bottom - top) * (right - left);
            const double excess = static_cast<double>(uses) / expected - 1.0;
            bias_[i] = static_cast<float>(uniformity * mean * std::clamp(excess, 0.0, most_excess));
        }
}

double PatchField::incoherence() const {
    std::int64_t pairs = 0, broken = 0;
    for (int y = 0; y < field_.height; ++y)
        for (int x = 0; x < field_.width; ++x) {
            const std::int32_t* here = &places_[2 * at(y, x)];
            const auto look = [&](int dy, int dx) {
                const std::int32_t* there = &places_[2 * at(y + dy, x + dx)];
                ++pairs;
                broken += there[0] - dy != here[0] || there[1] - dx != here[1];
            };
            if (x + 1 < field_.width) look(0, 1);
            if (y + 1 < field_.height) look(1, 0);
        }
    return pairs ? static_cast<double>(broken) / static_cast<double>(pairs) : 0.0;
}

void PatchField::vote(const float* planes, int count, bool sharp, float* out, ThreadPool& pool) {
    require(count >= 1 && count <= 64, "there must be 1 to 64 planes, not ", count);
    refresh(pool);
    const auto source_plane = pixels(source_), target_plane = pixels(target_);
    const double fall = 1.0 / mean_of_distances(pool);
    std::vector<float> trust(pixels(field_));
    pool.for_ranges(
        static_cast<std::int64_t>(trust.size()), 1 << 12,
        [&](std::int64_t begin, std::int64_t end) {
            for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
                // At least e^-12: every pixel is covered by a patch that counts.
                trust[i] = static_cast<float>(std::exp(-std::min(12.0, distances_[i] * fall)));
        });
    pool.run(target_.height, [&](std::int64_t row, int) {
        const int y = static_cast<int>(row);
        std::vector<std::size_t> from(static_cast<std::size_t>(patch_ * patch_));
        std::vector<float> weight(from.size());
        std::vector<double> sum(static_cast<std::size_t>(count));
        for (int x = 0; x < target_.width; ++x) {
            std::size_t voters = 0;
            double total = 0.0;
            std::fill(sum.begin(), sum.end(), 0.0);
            for (int dy = 0; dy < patch_; ++dy)
                for (int dx = 0; dx < patch_; ++dx) {
                    const int cy = y - dy, cx = x - dx;
                    if (cy < 0 || cx < 0 || cy >= field_.height || cx >= field_.width) continue;
                    const std::size_t i = at(cy, cx);
                    const auto place = static_cast<std::size_t>(places_[2 * i] + dy) *
                                           static_cast<std::size_t>(source_.width) +
                                       static_cast<std::size_t>(places_[2 * i + 1] + dx);
                    const float w = trust[i] * window_[static_cast<std::size_t>(dy * patch_ + dx)];
                    from[voters] = place;
                    weight[voters++] = w;
                    total += w;
                    for (int c = 0; c < count; ++c)
                        sum[static_cast<std::size_t>(c)] +=
                            static_cast<double>(w) *
                            planes[static_cast<std::size_t>(c) * source_plane + place];
                }
            const std::size_t pixel =
                static_cast<std::size_t>(y) * static_cast<std::size_t>(target_.width) +
                static_cast<std::size_t>(x);
            std::size_t nearest = from[0];
            double least = std::numeric_limits<double>::infinity();
            for (std::size_t v = 0; sharp && v < voters; ++v) {
                double d = 0.0;
                for (int c = 0; c < count; ++c) {
                    const double e = planes[static_cast<std::size_t>(c) * source_plane + from[v]] -
                                     sum[static_cast<std::size_t>(c)] / total;
                    d += e * e;
                }
                if (d < least) {
                    least = d;
                    nearest = from[v];
                }
            }
            for (int c = 0; c < count; ++c)
                out[static_cast<std::size_t>(c) * target_plane + pixel] =
                    sharp ? planes[static_cast<std::size_t>(c) * source_plane + nearest]
                          : static_cast<float>(sum[static_cast<std::size_t>(c)] / total);
        }
    });
}

}  // namespace fastsynth
