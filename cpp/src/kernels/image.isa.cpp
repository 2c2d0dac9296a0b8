// ImageKernels: see image.hpp. Plain loops, which the compiler vectorises; only exponents other
// than the usual ones need the power function, value by value.
#include "kernels/image.hpp"

#include <cmath>

#include "kernels/simd.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

/// power(q, &value, &slope): value = q^h, slope = 2 h q^(h-1).
template <class Power>
float variation_as(const float* __restrict row, const float* __restrict below, std::size_t width,
                   float epsilon, float* __restrict values, float* __restrict u,
                   float* __restrict v, Power power) {
    const float floor = epsilon * epsilon;
    float least, unused;
    power(floor, &least, &unused);
    for (std::size_t i = 0; i < width; ++i) {
        const float dx = i + 1 < width ? row[i + 1] - row[i] : 0.0f;
        const float dy = below[i] - row[i];
        float value, slope;
        power(dx * dx + dy * dy + floor, &value, &slope);
        values[i] = value;
        u[i] = slope * dx;
        v[i] = slope * dy;
    }
    return least;
}

float variation(const float* row, const float* below, std::size_t width, float beta, float epsilon,
                float* values, float* u, float* v) {
    if (beta == 2.0f) {
        return variation_as(row, below, width, epsilon, values, u, v,
                            [](float q, float* value, float* slope) {
                                *value = q;
                                *slope = 2.0f;
                            });
    }
    if (beta == 1.0f) {
        return variation_as(row, below, width, epsilon, values, u, v,
                            [](float q, float* value, float* slope) {
                                *value = __builtin_sqrtf(q);
                                *slope = 1.0f / *value;
                            });
    }
    return variation_as(row, below, width, epsilon, values, u, v,
                        [beta](float q, float* value, float* slope) {
                            const float power = __builtin_powf(q, 0.5f * beta - 1.0f);
                            *value = power * q;
                            *slope = beta * power;
                        });
}

void variation_gradient(const float* __restrict u, const float* __restrict v,
                        const float* __restrict v_above, std::size_t width, float weight,
                        float* __restrict gradient) {
    gradient[0] -= weight * (u[0] + v[0]);
    for (std::size_t i = 1; i < width; ++i) gradient[i] += weight * (u[i - 1] - u[i] - v[i]);
    if (v_above)
        for (std::size_t i = 0; i < width; ++i) gradient[i] += weight * v_above[i];
}

template <class Power>
void norm_power_as(const float* const channels[3], std::size_t pixels, float alpha,
                   float* __restrict values, float* __restrict slopes, Power power) {
    const float* __restrict r = channels[0];
    const float* __restrict g = channels[1];
    const float* __restrict b = channels[2];
    for (std::size_t i = 0; i < pixels; ++i) {
        const float x = r[i] - 0.5f, y = g[i] - 0.5f, z = b[i] - 0.5f;
        const float square = x * x + y * y + z * z;
        const float lower = power(square);
        values[i] = lower * square;
        slopes[i] = alpha * lower;
    }
}

void norm_power(const float* const channels[3], std::size_t pixels, float alpha, float* values,
                float* slopes) {
    if (alpha == 2.0f)
        norm_power_as(channels, pixels, alpha, values, slopes, [](float) { return 1.0f; });
    else if (alpha == 6.0f)
        norm_power_as(channels, pixels, alpha, values, slopes, [](float s) { return s * s; });
    else  // At the centre an α < 2 has an infinite slope, times a distance of 0: the floor makes
          // that 0.
        norm_power_as(channels, pixels, alpha, values, slopes, [alpha](float s) {
            return __builtin_powf(s < 1e-30f ? 1e-30f : s, 0.5f * alpha - 1.0f);
        });
}

void norm_gradient(const float* __restrict x, const float* __restrict slopes, std::size_t pixels,
                   float weight, float* __restrict gradient) {
    for (std::size_t i = 0; i < pixels; ++i) gradient[i] += weight * slopes[i] * (x[i] - 0.5f);
}

void outside(const float* __restrict x, std::size_t n, float low, float high,
             float* __restrict distances) {
    for (std::size_t i = 0; i < n; ++i) {
        const float nearest = x[i] < low ? low : x[i] > high ? high : x[i];
        distances[i] = x[i] - nearest;
    }
}

}  // namespace

extern const ImageKernels image_table;
const ImageKernels image_table{variation, variation_gradient, norm_power, norm_gradient, outside};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
