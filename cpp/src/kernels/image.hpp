// ImageKernels: the inner loops of the image terms (objective/image_terms.hpp). Internal to the
// core.
#pragma once

#include <cstddef>

namespace fastsynth {

struct ImageKernels {
    /// One row of total variation: q = dx² + dy² + ε²; values = q^(β/2); u, v = dvalue/d(dx),
    /// dvalue/d(dy). below: the next row, or the row itself for the last one. Returns ε^β, rounded
    /// like the values, so that Σ values - width·ε^β is exactly 0 for a constant row.
    float (*variation)(const float* row, const float* below, std::size_t width, float beta,
                       float epsilon, float* values, float* u, float* v);

    /// gradient[i] += weight (u[i-1] - u[i] - v[i] + v_above[i]); v_above may be null (first row).
    void (*variation_gradient)(const float* u, const float* v, const float* v_above,
                               std::size_t width, float weight, float* gradient);

    /// Per pixel, with s = Σ over channels of (x - 1/2)²: values = s^(α/2), slopes = α s^(α/2 - 1).
    void (*norm_power)(const float* const channels[3], std::size_t pixels, float alpha,
                       float* values, float* slopes);

    /// gradient[i] += weight · slopes[i] (x[i] - 1/2)
    void (*norm_gradient)(const float* x, const float* slopes, std::size_t pixels, float weight,
                          float* gradient);

    /// distances[i] = x[i] - clamp(x[i], low, high)
    void (*outside)(const float* x, std::size_t n, float low, float high, float* distances);
};

const ImageKernels& image_kernels();

}  // namespace fastsynth
