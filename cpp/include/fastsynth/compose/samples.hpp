// Kernels that turn samples into floats and back, single-threaded, any n.
//
// Rounding is to the nearest, halves to even; NaN becomes 0 where it must become an integer. All
// kernel sets give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastsynth/common/parallel.hpp"

namespace fastsynth::compose {

/// low + (high - low) clip((x - center) slope + middle, 0, 1)^exponent
struct ToneCurve {
    double center, slope, middle, exponent, low, high;
};

struct SampleKernels {
    void (*decode_u8)(const std::uint8_t* in, float* out, std::size_t n);
    void (*decode_u16)(const std::uint16_t* in, float* out, std::size_t n);
    /// A copy; says whether all values are finite and below 3e22, which leaves room for sums.
    bool (*decode_f32)(const float* in, float* out, std::size_t n);
    void (*decode_u8_to_i16)(const std::uint8_t* in, std::int16_t* out, std::size_t n);
    /// Cut to [0, 255].
    void (*encode_i16_to_u8)(const std::int16_t* in, std::uint8_t* out, std::size_t n);
    /// Rounded and saturated gain x + offset.
    void (*encode_u8)(const float* in, float gain, float offset, std::uint8_t* out, std::size_t n);
    void (*encode_u16)(const float* in, float gain, float offset, std::uint16_t* out,
                       std::size_t n);
    /// gain x + offset, cut to [low, high].
    void (*encode_f32)(const float* in, float gain, float offset, float low, float high, float* out,
                       std::size_t n);
    /// The sRGB curve (IEC 61966-2-1) and its inverse on values in [0, 1], relative error 1e-6;
    /// continued by its line below 0 and its power above 1. In place is allowed.
    void (*to_linear)(const float* in, float* out, std::size_t n);
    void (*to_srgb)(const float* in, float* out, std::size_t n);
    /// The curve, the argument of the power in float64, the power with an absolute error of 3e-7.
    void (*tone)(const float* in, float* out, std::size_t n, const ToneCurve& curve);
    /// Least and largest value; both NaN if any value is.
    void (*range)(const float* in, std::size_t n, float* low, float* high);
};

const SampleKernels& sample_kernels();

/// Least and largest of n values; both NaN if any value is.
void value_range(const float* values, std::size_t n, ThreadPool& pool, float* low, float* high);

}  // namespace fastsynth::compose
