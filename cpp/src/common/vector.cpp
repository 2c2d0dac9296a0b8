#include "fastsynth/common/vector.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "fastsynth/common/kernel_set.hpp"

namespace fastsynth {

namespace portable {
extern const VectorKernels vector_table;
}
#ifdef FASTSYNTH_X86
namespace avx2 {
extern const VectorKernels vector_table;
}
namespace avx512 {
extern const VectorKernels vector_table;
}
#endif

const VectorKernels& vector_kernels() {
#ifdef FASTSYNTH_X86
    static const VectorKernels& table =
        choose(portable::vector_table, avx2::vector_table, avx512::vector_table);
    return table;
#else
    return portable::vector_table;
#endif
}

namespace {

// 32768 floats are 128 KiB: two of them fit in L2, and a range takes long enough (some 10 µs) to be
// worth a task.
constexpr std::int64_t grain = 1 << 15;

template <class Body>
double sum_ranges(std::size_t n, ThreadPool& pool, Body body) {
    return pool.sum(static_cast<std::int64_t>(n), grain, [&](std::int64_t begin, std::int64_t end) {
        return body(begin, static_cast<std::size_t>(end - begin));
    });
}

template <class Body>
void each_range(std::size_t n, ThreadPool& pool, Body body) {
    pool.for_ranges(static_cast<std::int64_t>(n), grain, [&](std::int64_t begin, std::int64_t end) {
        body(begin, static_cast<std::size_t>(end - begin));
    });
}

}  // namespace

double dot(const float* x, const float* y, std::size_t n, ThreadPool& pool) {
    const auto& k = vector_kernels();
    return sum_ranges(n, pool, [&](auto i, auto count) { return k.dot(x + i, y + i, count); });
}

double norm1(const float* x, std::size_t n, ThreadPool& pool) {
    const auto& k = vector_kernels();
    return sum_ranges(n, pool, [&](auto i, auto count) { return k.norm1(x + i, count); });
}

double difference2(const float* x, const float* y, std::size_t n, ThreadPool& pool) {
    const auto& k = vector_kernels();
    return sum_ranges(n, pool,
                      [&](auto i, auto count) { return k.difference2(x + i, y + i, count); });
}

float max_abs(const float* x, std::size_t n, ThreadPool& pool) {
    const auto& k = vector_kernels();
    std::vector<float> parts((n + grain - 1) / grain, 0.0f);
    each_range(n, pool, [&](auto i, auto count) {
        parts[static_cast<std::size_t>(i / grain)] = k.max_abs(x + i, count);
    });
    return k.max_abs(parts.data(), parts.size());
}

bool is_finite(const float* x, std::size_t n, ThreadPool& pool) {
    return std::isfinite(max_abs(x, n, pool));
}

void axpy(float a, const float* x, float* y, std::size_t n, ThreadPool& pool) {
    const auto& k = vector_kernels();
    each_range(n, pool, [&](auto i, auto count) { k.axpy(a, x + i, y + i, count); });
}

void axpby(float a, const float* x, float b, float* y, std::size_t n, ThreadPool& pool) {
    const auto& k = vector_kernels();
    each_range(n, pool, [&](auto i, auto count) { k.axpby(a, x + i, b, y + i, count); });
}

double scaled_difference(double a, const float* x, const float* t, float* y, std::size_t n,
                         bool add, ThreadPool& pool) {
    const auto& k = vector_kernels();
    return sum_ranges(n, pool, [&](auto i, auto count) {
        return k.scaled_difference(a, x + i, t + i, y + i, count, add);
    });
}

}  // namespace fastsynth
