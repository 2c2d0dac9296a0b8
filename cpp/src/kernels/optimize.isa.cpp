// OptimizerKernels: see optimize/kernels.hpp.
#include <cmath>

#include "fastsynth/optimize/kernels.hpp"
#include "kernels/simd.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

double total(Doubles v) {
    double result = 0.0;
    for (int i = 0; i < wide_lanes; ++i) result += v[i];
    return result;
}

double combine_dot(float a, const float* u, float b, const float* v, const float* w, float* out,
                   std::size_t n) {
    const double wide_a = a, wide_b = b;
    constexpr std::size_t step = wide_lanes;
    // Two accumulators hide the latency of the additions.
    Doubles even = {}, odd = {};
    std::size_t i = 0;
    for (; i + 2 * step <= n; i += 2 * step) {
        const Doubles p = wide_a * load_wide(u + i) + wide_b * load_wide(v + i);
        const Doubles q = wide_a * load_wide(u + i + step) + wide_b * load_wide(v + i + step);
        store_narrow(out + i, p);
        store_narrow(out + i + step, q);
        even += p * load_wide(w + i);
        odd += q * load_wide(w + i + step);
    }
    double rest = 0.0;
    for (; i < n; ++i) {
        const double p = wide_a * u[i] + wide_b * v[i];
        out[i] = static_cast<float>(p);
        rest += p * w[i];
    }
    return total(even + odd) + rest;
}

void move(const float* x, float t, const float* d, float* out, std::size_t n) {
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) store(out + i, load(x + i) + t * load(d + i));
    for (; i < n; ++i) out[i] = x[i] + t * d[i];
}

PairSums difference(const float* x1, const float* x0, const float* g1, const float* g0, float* s,
                    float* y, std::size_t n) {
    Doubles ss = {}, sy = {}, yy = {};
    std::size_t i = 0;
    for (; i + wide_lanes <= n; i += wide_lanes) {
        const Doubles a = load_wide(x1 + i) - load_wide(x0 + i);
        const Doubles b = load_wide(g1 + i) - load_wide(g0 + i);
        store_narrow(s + i, a);
        store_narrow(y + i, b);
        ss += a * a;
        sy += a * b;
        yy += b * b;
    }
    PairSums sums{total(ss), total(sy), total(yy)};
    for (; i < n; ++i) {
        const double a = static_cast<double>(x1[i]) - x0[i];
        const double b = static_cast<double>(g1[i]) - g0[i];
        s[i] = static_cast<float>(a);
        y[i] = static_cast<float>(b);
        sums.ss += a * a;
        sums.sy += a * b;
        sums.yy += b * b;
    }
    return sums;
}

// A plain loop: the compiler vectorises it, square root and division included.
void adam(const AdamStep& step, const float* __restrict g, float* __restrict m, float* __restrict v,
          float* __restrict x, std::size_t n) {
    const AdamStep k = step;
    for (std::size_t i = 0; i < n; ++i) {
        m[i] = k.beta1 * m[i] + (1.0f - k.beta1) * g[i];
        v[i] = k.beta2 * v[i] + (1.0f - k.beta2) * (g[i] * g[i]);
        x[i] -= k.rate * m[i] / (std::sqrt(v[i] * k.inverse_c) + k.epsilon);
    }
}

}  // namespace

extern const OptimizerKernels optimizer_table;
const OptimizerKernels optimizer_table{combine_dot, move, difference, adam};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
