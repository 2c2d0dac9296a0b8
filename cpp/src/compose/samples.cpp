#include "fastsynth/compose/samples.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace fastsynth::compose {

void value_range(const float* values, std::size_t n, ThreadPool& pool, float* low, float* high) {
    constexpr std::int64_t grain = 1 << 18;  // a megabyte: little beside starting a task
    const auto ranges = (n + grain - 1) / grain;
    std::vector<float> lows(ranges), highs(ranges);
    pool.for_ranges(static_cast<std::int64_t>(n), grain, [&](std::int64_t begin, std::int64_t end) {
        const auto slot = static_cast<std::size_t>(begin / grain);
        sample_kernels().range(values + begin, static_cast<std::size_t>(end - begin), &lows[slot],
                               &highs[slot]);
    });
    *low = std::numeric_limits<float>::infinity();
    *high = -*low;
    for (std::size_t i = 0; i < ranges; ++i) {
        if (std::isnan(lows[i])) {
            *low = *high = lows[i];
            return;
        }
        *low = std::min(*low, lows[i]);
        *high = std::max(*high, highs[i]);
    }
}

}  // namespace fastsynth::compose
