// PyramidKernels: see optimize/laplacian.hpp. Plain loops, which the compiler vectorises.
#include "fastsynth/optimize/laplacian.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

void combine(const float* const* rows, const float* weights, int count, std::size_t n,
             float* __restrict out) {
    for (std::size_t i = 0; i < n; ++i) out[i] = weights[0] * rows[0][i];
    for (int j = 1; j < count; ++j) {
        const float weight = weights[j];
        const float* __restrict row = rows[j];
        for (std::size_t i = 0; i < n; ++i) out[i] += weight * row[i];
    }
}

/// One sample of `shrink` near a border: only the taps that are there, with weights summing to 1.
float shrunk(const float* row, std::size_t n, std::size_t i) {
    constexpr float taps[5] = {1.0f, 4.0f, 6.0f, 4.0f, 1.0f};
    float sum = 0.0f, weight = 0.0f;
    for (std::size_t j = 0; j < 5; ++j) {
        const std::size_t at = 2 * i + j;  // two more than the sample's place
        if (at < 2 || at - 2 >= n) continue;
        sum += taps[j] * row[at - 2];
        weight += taps[j];
    }
    return sum / weight;
}

void shrink(const float* __restrict row, std::size_t n, float* __restrict out) {
    const std::size_t half = (n + 1) / 2;
    const std::size_t inner = n >= 5 ? (n - 3) / 2 : 0;  // samples 1 … inner have all five taps
    out[0] = shrunk(row, n, 0);
    for (std::size_t i = 1; i <= inner; ++i) {
        const float* at = row + 2 * i;
        out[i] = 0.0625f * (at[-2] + at[2]) + 0.25f * (at[-1] + at[1]) + 0.375f * at[0];
    }
    for (std::size_t i = inner + 1; i < half; ++i) out[i] = shrunk(row, n, i);
}

/// Sample i of the widened row: even ones lie on a coarse sample, odd ones between two.
float widened(const float* row, std::size_t half, std::size_t i) {
    const std::size_t at = i / 2;
    if (i % 2) return at + 1 < half ? 0.5f * (row[at] + row[at + 1]) : row[at];
    float sum = 6.0f * row[at], weight = 6.0f;
    if (at > 0) {
        sum += row[at - 1];
        weight += 1.0f;
    }
    if (at + 1 < half) {
        sum += row[at + 1];
        weight += 1.0f;
    }
    return sum / weight;
}

void widen_add(const float* __restrict row, std::size_t n, float a, const float* in, float b,
               float* out) {
    const std::size_t half = (n + 1) / 2;
    std::size_t i = 0;
    for (; i < n && i < 2; ++i) out[i] = a * in[i] + b * widened(row, half, i);
    for (std::size_t at = 1; at + 1 < half; ++at, i += 2) {
        const float even = 0.125f * (row[at - 1] + row[at + 1]) + 0.75f * row[at];
        const float odd = 0.5f * (row[at] + row[at + 1]);
        out[i] = a * in[i] + b * even;
        out[i + 1] = a * in[i + 1] + b * odd;
    }
    for (; i < n; ++i) out[i] = a * in[i] + b * widened(row, half, i);
}

void descend(float step, const float* __restrict g, float low, float high, float* __restrict x,
             std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        const float moved = x[i] - step * g[i];
        const float above = moved < low ? low : moved;
        x[i] = above > high ? high : above;
    }
}

}  // namespace

extern const PyramidKernels pyramid_table;
const PyramidKernels pyramid_table{combine, shrink, widen_add, descend};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
