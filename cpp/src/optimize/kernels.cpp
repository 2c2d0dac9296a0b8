#include "fastsynth/optimize/kernels.hpp"

#include <vector>

#include "fastsynth/common/kernel_set.hpp"

namespace fastsynth {

namespace portable {
extern const OptimizerKernels optimizer_table;
}
#ifdef FASTSYNTH_X86
namespace avx2 {
extern const OptimizerKernels optimizer_table;
}
namespace avx512 {
extern const OptimizerKernels optimizer_table;
}
#endif

const OptimizerKernels& optimizer_kernels() {
#ifdef FASTSYNTH_X86
    static const OptimizerKernels& table =
        choose(portable::optimizer_table, avx2::optimizer_table, avx512::optimizer_table);
    return table;
#else
    return portable::optimizer_table;
#endif
}

namespace {

// As in common/vector.cpp: small enough for the caches, long enough to be worth a task.
constexpr std::int64_t grain = 1 << 15;

template <class Body>
void each_range(std::size_t n, ThreadPool& pool, Body body) {
    pool.for_ranges(static_cast<std::int64_t>(n), grain, [&](std::int64_t begin, std::int64_t end) {
        body(begin, static_cast<std::size_t>(end - begin));
    });
}

}  // namespace

double combine_dot(float a, const float* u, float b, const float* v, const float* w, float* out,
                   std::size_t n, ThreadPool& pool) {
    const auto& k = optimizer_kernels();
    return pool.sum(static_cast<std::int64_t>(n), grain, [&](std::int64_t i, std::int64_t end) {
        return k.combine_dot(a, u + i, b, v + i, w + i, out + i, static_cast<std::size_t>(end - i));
    });
}

void move(const float* x, float t, const float* d, float* out, std::size_t n, ThreadPool& pool) {
    const auto& k = optimizer_kernels();
    each_range(n, pool, [&](auto i, auto count) { k.move(x + i, t, d + i, out + i, count); });
}

PairSums difference(const float* x1, const float* x0, const float* g1, const float* g0, float* s,
                    float* y, std::size_t n, ThreadPool& pool) {
    const auto& k = optimizer_kernels();
    std::vector<PairSums> parts((n + grain - 1) / grain);
    each_range(n, pool, [&](auto i, auto count) {
        parts[static_cast<std::size_t>(i / grain)] =
            k.difference(x1 + i, x0 + i, g1 + i, g0 + i, s + i, y + i, count);
    });
    PairSums sums;
    for (const PairSums& part : parts) {
        sums.ss += part.ss;
        sums.sy += part.sy;
        sums.yy += part.yy;
    }
    return sums;
}

void adam(const AdamStep& step, const float* g, float* m, float* v, float* x, std::size_t n,
          ThreadPool& pool) {
    const auto& k = optimizer_kernels();
    each_range(n, pool,
               [&](auto i, auto count) { k.adam(step, g + i, m + i, v + i, x + i, count); });
}

}  // namespace fastsynth
