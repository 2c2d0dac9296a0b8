// What pixel functions work on: images in memory, borders, and how samples become numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fastsynth::compose {

enum class Sample { u8, u16, f32 };

constexpr std::size_t bytes_of(Sample sample) {
    return sample == Sample::u8 ? 1 : sample == Sample::u16 ? 2 : 4;
}

/// The value of white.
constexpr float top_of(Sample sample) {
    return sample == Sample::u8 ? 255.0f : sample == Sample::u16 ? 65535.0f : 1.0f;
}

constexpr int max_channels = 4;

/// An image (height, width, channels), C-contiguous; channels 1, 3, or 4 with alpha last.
struct Raster {
    const void* data;
    Sample sample;
    std::int64_t height, width;
    int channels;

    const void* at(std::int64_t y, std::int64_t x) const {
        return static_cast<const char*>(data) + bytes_of(sample) * ((y * width + x) * channels);
    }
};

struct MutableRaster {
    void* data;
    Sample sample;
    std::int64_t height, width;
    int channels;

    void* at(std::int64_t y, std::int64_t x) const {
        return static_cast<char*>(data) + bytes_of(sample) * ((y * width + x) * channels);
    }
};

/// What lies outside the image a b c d:
///   constant    k k k | a b c d | k k k
///   replicate   a a a | a b c d | d d d
///   reflect     c b a | a b c d | d c b
///   mirror      d c b | a b c d | c b a
///   wrap        b c d | a b c d | a b c
enum class Border { constant, replicate, reflect, mirror, wrap };

/// The place in [0, n) that place i shows; -1 where that is the constant.
inline std::int64_t border_index(std::int64_t i, std::int64_t n, Border border) {
    if (i >= 0 && i < n) return i;
    const auto modulo = [](std::int64_t a, std::int64_t b) { return (a % b + b) % b; };
    switch (border) {
        case Border::constant:
            return -1;
        case Border::replicate:
            return i < 0 ? 0 : n - 1;
        case Border::wrap:
            return modulo(i, n);
        case Border::reflect: {
            const std::int64_t m = modulo(i, 2 * n);
            return m < n ? m : 2 * n - 1 - m;
        }
        case Border::mirror: {
            if (n == 1) return 0;
            const std::int64_t m = modulo(i, 2 * n - 2);
            return m < n ? m : 2 * n - 2 - m;
        }
    }
    return -1;
}

/// What a fourth channel means to a filter.
///   premultiply  colour is weighted by alpha, and alpha is filtered with the weights' sum as unit
///   keep         colour is filtered as if opaque; alpha stays
///   channel      alpha is a channel like the others
enum class Alpha { premultiply, keep, channel };

/// How samples become the numbers that are worked with, "working units": samples as they are (0 to
/// 255, 65535 or 1), or linear light in [0, 1] by the sRGB curve (alpha: in [0, 1]).
struct Reading {
    Border border = Border::reflect;
    std::array<float, max_channels> constant{};  // in samples
    bool linear = false;
    Alpha alpha = Alpha::premultiply;  // without a fourth channel it means nothing
};

}  // namespace fastsynth::compose
