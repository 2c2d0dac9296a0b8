#include "fastsynth/network/planar.hpp"

#include <algorithm>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/kernel_set.hpp"

namespace fastsynth {

namespace portable {
extern const PlanarKernels planar_table;
}
#ifdef FASTSYNTH_X86
namespace avx2 {
extern const PlanarKernels planar_table;
}
namespace avx512 {
extern const PlanarKernels planar_table;
}
#endif

const PlanarKernels& planar_kernels() {
#ifdef FASTSYNTH_X86
    static const PlanarKernels& table =
        choose(portable::planar_table, avx2::planar_table, avx512::planar_table);
    return table;
#else
    return portable::planar_table;
#endif
}

namespace {

// Values per task: enough that a task takes some 10 µs.
constexpr std::size_t grain = std::size_t{1} << 15;

void require_planar(const FeatureMap& map) {
    require(map.block == 1 && map.channels > 0 && map.height > 0 && map.width > 0,
            "expected a planar map with at least one value, not ", map.channels, " x ", map.height,
            " x ", map.width, " in blocks of ", map.block);
}

/// Runs body(row) for all rows of windows of all channels.
template <class Body>
void for_rows(const FeatureMap& map, ThreadPool& pool, Body body) {
    const std::int64_t rows = static_cast<std::int64_t>(map.channels) * (map.height / 2);
    const std::size_t values = 2 * static_cast<std::size_t>(map.width);
    pool.for_ranges(rows, static_cast<std::int64_t>(std::max<std::size_t>(grain / values, 1)),
                    [&](std::int64_t begin, std::int64_t end) {
                        for (std::int64_t row = begin; row < end; ++row)
                            body(static_cast<std::size_t>(row));
                    });
}

/// Where the upper row of a row of windows begins.
std::size_t top_of(const FeatureMap& map, std::size_t row) {
    const auto half = static_cast<std::size_t>(map.height / 2);
    return row / half * map.positions() + row % half * 2 * static_cast<std::size_t>(map.width);
}

}  // namespace

void pool_planar(const FeatureMap& map, bool average, float* pooled, std::uint8_t* routes,
                 ThreadPool& pool) {
    require_planar(map);
    const auto width = static_cast<std::size_t>(map.width), windows = width / 2;
    const auto kernel = planar_kernels().pool;
    for_rows(map, pool, [&](std::size_t row) {
        const float* top = map.data + top_of(map, row);
        kernel(top, top + width, windows, average, pooled + row * windows, routes + row * windows);
    });
}

void unpool_planar(const float* pooled, const std::uint8_t* routes, bool average,
                   const FeatureMap& gradient, bool add, ThreadPool& pool) {
    require_planar(gradient);
    const auto width = static_cast<std::size_t>(gradient.width), windows = width / 2;
    const auto kernel = planar_kernels().unpool;
    const float scale = average ? 0.25f : 1.0f;
    for_rows(gradient, pool, [&](std::size_t row) {
        float* top = gradient.data + top_of(gradient, row);
        kernel(pooled + row * windows, routes + row * windows, windows, scale, top, top + width,
               !add);
        if (!add && width % 2) top[width - 1] = top[2 * width - 1] = 0.0f;
    });
    if (!add && gradient.height % 2)
        for (int c = 0; c < gradient.channels; ++c) {
            float* end = gradient.data + (static_cast<std::size_t>(c) + 1) * gradient.positions();
            std::fill(end - width, end, 0.0f);
        }
}

void mask_planar(const FeatureMap& feature, const FeatureMap& gradient, ThreadPool& pool) {
    require_planar(feature);
    require(gradient.block == 1 && gradient.size() == feature.size(),
            "the gradient and the features differ in shape");
    const auto kernel = planar_kernels().mask;
    pool.for_ranges(static_cast<std::int64_t>(feature.size()), static_cast<std::int64_t>(grain),
                    [&](std::int64_t begin, std::int64_t end) {
                        kernel(feature.data + begin, gradient.data + begin,
                               static_cast<std::size_t>(end - begin));
                    });
}

}  // namespace fastsynth
