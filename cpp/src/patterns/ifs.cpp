#include "fastsynth/patterns/ifs.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>

#include "fastsynth/common/error.hpp"
#include "fastsynth/patterns/random.hpp"

namespace fastsynth {
namespace {

constexpr int settling = 32;  // steps before a point counts as one of the attractor
constexpr double escaped = 1e12;

/// Chooses maps by their weights from 16 random bits: one random word serves four steps.
class Chooser {
  public:
    explicit Chooser(const std::vector<AffineMap>& maps) : table_(1 << 16) {
        require(!maps.empty() && maps.size() <= 256, "1 to 256 maps are needed, not ", maps.size());
        double total = 0;
        for (const AffineMap& map : maps) {
            for (double v : {map.a, map.b, map.c, map.d, map.e, map.f, map.weight, map.color})
                require(std::isfinite(v), "a map has a number that is not finite");
            require(map.weight > 0, "a map has the weight ", map.weight, "; expected above 0");
            total += map.weight;
        }
        double sum = 0;
        std::size_t first = 0;
        for (std::size_t k = 0; k < maps.size(); ++k) {
            sum += maps[k].weight / total;
            const auto last = k + 1 == maps.size()
                                  ? table_.size()
                                  : static_cast<std::size_t>(std::lround(sum * 65536));
            std::fill(table_.begin() + static_cast<std::ptrdiff_t>(first),
                      table_.begin() + static_cast<std::ptrdiff_t>(std::max(first, last)),
                      static_cast<std::uint8_t>(k));
            first = std::max(first, last);
        }
    }

    std::size_t operator()(std::uint64_t bits) const { return table_[bits & 0xffff]; }

  private:
    std::vector<std::uint8_t> table_;
};

/// Runs the chaos game: visit(x, y, color) for each of `count` points.
template <class Visit>
void play(const std::vector<AffineMap>& maps, const Chooser& choose, Random random,
          std::int64_t count, Visit visit) {
    double x = random.uniform(), y = random.uniform(), color = 0.5;
    std::uint64_t bits = 0;
    for (std::int64_t i = -settling; i < count; ++i) {
        if ((i & 3) == 0) bits = random.bits();
        const AffineMap& map = maps[choose(bits >> (16 * (i & 3)))];
        const double next = map.a * x + map.b * y + map.e;
        y = map.c * x + map.d * y + map.f;
        x = next;
        color = 0.5 * (color + map.color);
        if (i >= 0) visit(x, y, color);
    }
    require(std::fabs(x) < escaped && std::fabs(y) < escaped,
            "the points run away: the maps do not contract on average; scale them down");
}

}  // namespace

Bounds attractor_extent(const std::vector<AffineMap>& maps, std::uint64_t seed) {
    const Chooser choose(maps);
    constexpr double far = 1e300;
    Bounds extent{far, far, -far, -far};
    play(maps, choose, Random(seed, 1u << 20), 200000, [&](double x, double y, double) {
        extent = {std::min(extent.left, x), std::min(extent.bottom, y), std::max(extent.right, x),
                  std::max(extent.top, y)};
    });
    return extent;
}

void paint_attractor(const std::vector<AffineMap>& maps, double left, double top, double size,
                     const ChaosSettings& settings, const Palette& palette, const Surface& surface,
                     ThreadPool& pool) {
    require(std::isfinite(left) && std::isfinite(top) && std::isfinite(size) && size > 0,
            "the view must be finite, its pixels larger than 0");
    require(settings.samples > 0 && settings.gamma > 0, "samples and gamma must be above 0");
    const Chooser choose(maps);
    const std::int64_t pixels = surface.width * surface.height;
    // A cell holds the number of points in its upper 28 bits and the sum of their colours (0 … 255)
    // in its lower 36: enough for all points in one cell.
    constexpr int shift = 36;
    constexpr double most = 268435455;
    const auto total = static_cast<std::int64_t>(
        std::min(most, std::max(1.0, settings.samples * static_cast<double>(pixels))));
    auto cells = std::make_unique<std::atomic<std::uint64_t>[]>(static_cast<std::size_t>(pixels));
    constexpr std::int64_t task_points = 1 << 18;
    const std::int64_t tasks = (total + task_points - 1) / task_points;
    const double inverse = 1 / size;
    const auto w = static_cast<double>(surface.width), h = static_cast<double>(surface.height);
    pool.run(tasks, [&](std::int64_t task, int) {
        const std::int64_t count = std::min(task_points, total - task * task_points);
        play(maps, choose, Random(settings.seed, static_cast<std::uint64_t>(task)), count,
             [&](double x, double y, double color) {
                 const double i = (x - left) * inverse, j = (top - y) * inverse;
                 if (!(i >= 0 && i < w && j >= 0 && j < h)) return;
                 const auto cell =
                     static_cast<std::int64_t>(j) * surface.width + static_cast<std::int64_t>(i);
                 cells[static_cast<std::size_t>(cell)].fetch_add(
                     (std::uint64_t{1} << shift) + static_cast<std::uint64_t>(color * 255.0 + 0.5),
                     std::memory_order_relaxed);
             });
    });
    // White point: the count that all but 1 in 500 of the pixels with points stay below, so that a
    // few bright spots do not darken the rest.
    std::vector<std::int64_t> histogram(4096, 0);
    constexpr double per_octave = 128;  // places in the histogram
    std::int64_t filled = 0;
    for (std::int64_t i = 0; i < pixels; ++i) {
        const std::uint64_t count =
            cells[static_cast<std::size_t>(i)].load(std::memory_order_relaxed) >> shift;
        if (!count) continue;
        ++filled;
        ++histogram[static_cast<std::size_t>(std::log2(static_cast<double>(count)) * per_octave)];
    }
    std::int64_t above = 0;
    std::size_t place = histogram.size();
    while (place > 1 && above <= filled / 500) above += histogram[--place];
    const double white = std::log1p(std::exp2(static_cast<double>(place + 1) / per_octave));
    pool.for_ranges(surface.height, 8, [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> row(static_cast<std::size_t>(3 * surface.width));
        for (std::int64_t j = begin; j < end; ++j) {
            for (std::int64_t i = 0; i < surface.width; ++i) {
                const std::uint64_t cell =
                    cells[static_cast<std::size_t>(j * surface.width + i)].load(
                        std::memory_order_relaxed);
                const auto count = static_cast<double>(cell >> shift);
                Color color = settings.background;
                if (count > 0) {
                    const auto sum = static_cast<double>(cell & ((std::uint64_t{1} << shift) - 1));
                    const double dense = std::min(1.0, std::log1p(count) / white);
                    const double strength = std::pow(dense, 1 / settings.gamma);
                    color = mix(color, palette.at(sum / count / 255), static_cast<float>(strength));
                }
                float* out = row.data() + 3 * i;
                out[0] = color.r;
                out[1] = color.g;
                out[2] = color.b;
            }
            encode_row(row.data(), surface.width, surface, 0, j);
        }
    });
}

}  // namespace fastsynth
