// VectorKernels: see common/vector.hpp. All of them are bound by memory, so they are plain loops
// over vectors; sums run in `streams` independent float64 accumulators to hide the latency of the
// additions.
#include "fastsynth/common/vector.hpp"

#include <cmath>

#include "kernels/simd.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

constexpr int streams = 4;

double total(const Doubles (&parts)[streams]) {
    const Doubles all = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    double result = 0.0;
    for (int i = 0; i < wide_lanes; ++i) result += all[i];
    return result;
}

/// Σ of wide(i), a vector of wide_lanes float64 from item i, and of narrow(i), one float64, for
/// what is left.
template <class Wide, class Narrow>
inline double reduce(std::size_t n, Wide wide, Narrow narrow) {
    constexpr std::size_t step = wide_lanes;
    Doubles parts[streams] = {};
    std::size_t i = 0;
    for (; i + streams * step <= n; i += streams * step) {
        parts[0] += wide(i);
        parts[1] += wide(i + step);
        parts[2] += wide(i + 2 * step);
        parts[3] += wide(i + 3 * step);
    }
    for (; i + step <= n; i += step) parts[0] += wide(i);
    double rest = 0.0;
    for (; i < n; ++i) rest += narrow(i);
    return total(parts) + rest;
}

Ints load_bits(const float* p) {
    Ints v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

Doubles magnitude(Doubles v) { return v < 0.0 ? -v : v; }

double dot(const float* x, const float* y, std::size_t n) {
    return reduce(
        n, [=](std::size_t i) { return load_wide(x + i) * load_wide(y + i); },
        [=](std::size_t i) { return static_cast<double>(x[i]) * y[i]; });
}

double sum(const float* x, std::size_t n) {
    return reduce(
        n, [=](std::size_t i) { return load_wide(x + i); },
        [=](std::size_t i) { return static_cast<double>(x[i]); });
}

double norm1(const float* x, std::size_t n) {
    return reduce(
        n, [=](std::size_t i) { return magnitude(load_wide(x + i)); },
        [=](std::size_t i) { return static_cast<double>(std::fabs(x[i])); });
}

double difference2(const float* x, const float* y, std::size_t n) {
    return reduce(
        n,
        [=](std::size_t i) {
            const Doubles d = load_wide(x + i) - load_wide(y + i);
            return d * d;
        },
        [=](std::size_t i) {
            const double d = static_cast<double>(x[i]) - y[i];
            return d * d;
        });
}

float max_abs(const float* x, std::size_t n) {
    // Without its sign bit, a float compares like its bit pattern, and the patterns of NaN lie
    // above infinity's.
    Ints most = {};
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        const Ints bits = load_bits(x + i) & 0x7fffffff;
        most = bits > most ? bits : most;
    }
    std::int32_t top = 0;
    for (int lane = 0; lane < lanes; ++lane) top = most[lane] > top ? most[lane] : top;
    for (; i < n; ++i) {
        std::int32_t bits;
        std::memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    float result;
    std::memcpy(&result, &top, sizeof result);
    return result;
}

void axpy(float a, const float* x, float* y, std::size_t n) {
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) store(y + i, load(y + i) + a * load(x + i));
    for (; i < n; ++i) y[i] += a * x[i];
}

void axpby(float a, const float* x, float b, float* y, std::size_t n) {
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) store(y + i, a * load(x + i) + b * load(y + i));
    for (; i < n; ++i) y[i] = a * x[i] + b * y[i];
}

void scale(float a, float* x, std::size_t n) {
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) store(x + i, a * load(x + i));
    for (; i < n; ++i) x[i] *= a;
}

template <bool add>
double scaled_difference_as(double a, const float* x, const float* t, float* y, std::size_t n) {
    return reduce(
        n,
        [=](std::size_t i) {
            const Doubles d = load_wide(x + i) - load_wide(t + i);
            store_narrow(y + i, add ? load_wide(y + i) + a * d : a * d);
            return d * d;
        },
        [=](std::size_t i) {
            const double d = static_cast<double>(x[i]) - t[i];
            y[i] = static_cast<float>(add ? y[i] + a * d : a * d);
            return d * d;
        });
}

double scaled_difference(double a, const float* x, const float* t, float* y, std::size_t n,
                         bool add) {
    return add ? scaled_difference_as<true>(a, x, t, y, n)
               : scaled_difference_as<false>(a, x, t, y, n);
}

}  // namespace

extern const VectorKernels vector_table;
const VectorKernels vector_table{dot,  sum,   norm1, difference2,      max_abs,
                                 axpy, axpby, scale, scaled_difference};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
