#include "fastsynth/compose/tone.hpp"

#include <algorithm>
#include <cstdint>

#include "fastsynth/common/error.hpp"
#include "fastsynth/compose/samples.hpp"

namespace fastsynth {
namespace {

constexpr std::int64_t grain = 1 << 16;  // pixels per task

template <int channels, class T>
void look_up_range(const T* image, std::size_t pixels, const T* tables, T* out) {
    constexpr std::size_t entries = std::size_t(1) << (8 * sizeof(T));
    for (std::size_t i = 0; i < pixels; ++i)
        for (std::size_t c = 0; c < channels; ++c)
            out[i * channels + c] = tables[c * entries + image[i * channels + c]];
}

template <class T>
T quantized(float value, float top) {
    const float cut = std::min(std::max(value, 0.0f), top);
    return top == 1.0f ? static_cast<T>(cut) : static_cast<T>(cut + 0.5f);
}

template <int channels, class T>
void color_matrix_range(const float m[12], float top, const T* image, std::size_t pixels, T* out) {
    for (std::size_t i = 0; i < pixels; ++i) {
        const T* from = image + i * channels;
        T* to = out + i * channels;
        const auto r = static_cast<float>(from[0]), g = static_cast<float>(from[1]),
                   b = static_cast<float>(from[2]);
        const float x = m[0] * r + m[1] * g + m[2] * b + m[3];
        const float y = m[4] * r + m[5] * g + m[6] * b + m[7];
        const float z = m[8] * r + m[9] * g + m[10] * b + m[11];
        to[0] = quantized<T>(x, top);
        to[1] = quantized<T>(y, top);
        to[2] = quantized<T>(z, top);
        if (channels == 4) to[3] = from[3];
    }
}

}  // namespace

template <class T>
void look_up(const T* image, int channels, std::size_t pixels, const T* tables, T* out,
             ThreadPool& pool) {
    require(channels == 1 || channels == 3 || channels == 4,
            "an image has 1, 3 or 4 channels, not ", channels);
    pool.for_ranges(static_cast<std::int64_t>(pixels), grain,
                    [&](std::int64_t begin, std::int64_t end) {
                        const auto count = static_cast<std::size_t>(end - begin);
                        const T* from = image + begin * channels;
                        T* to = out + begin * channels;
                        if (channels == 1)
                            look_up_range<1>(from, count, tables, to);
                        else if (channels == 3)
                            look_up_range<3>(from, count, tables, to);
                        else
                            look_up_range<4>(from, count, tables, to);
                    });
}

template <class T>
void color_matrix(const double matrix[12], const T* image, int channels, std::size_t pixels, T* out,
                  ThreadPool& pool) {
    require(channels == 3 || channels == 4, "a colour image has 3 or 4 channels, not ", channels);
    const float top = sizeof(T) == 1 ? 255.0f : sizeof(T) == 2 ? 65535.0f : 1.0f;
    float m[12];
    for (int i = 0; i < 12; ++i)
        m[i] = static_cast<float>(i % 4 == 3 ? matrix[i] * top : matrix[i]);
    pool.for_ranges(static_cast<std::int64_t>(pixels), grain,
                    [&](std::int64_t begin, std::int64_t end) {
                        const auto count = static_cast<std::size_t>(end - begin);
                        const T* from = image + begin * channels;
                        T* to = out + begin * channels;
                        if (channels == 3)
                            color_matrix_range<3>(m, top, from, count, to);
                        else
                            color_matrix_range<4>(m, top, from, count, to);
                    });
}

void tone_curve(const compose::ToneCurve& curve, const float* image, int channels,
                std::size_t pixels, float* out, ThreadPool& pool) {
    constexpr std::int64_t block = 1 << 11;  // pixels whose samples stay in the first cache
    pool.for_ranges(
        static_cast<std::int64_t>(pixels), grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; i += block) {
                const std::int64_t first = i * channels;
                const std::int64_t last = std::min(i + block, end) * channels;
                compose::sample_kernels().tone(image + first, out + first,
                                               static_cast<std::size_t>(last - first), curve);
                if (channels == 4)  // alpha stays
                    for (std::int64_t k = first + 3; k < last; k += 4) out[k] = image[k];
            }
        });
}

template void look_up(const std::uint8_t*, int, std::size_t, const std::uint8_t*, std::uint8_t*,
                      ThreadPool&);
template void look_up(const std::uint16_t*, int, std::size_t, const std::uint16_t*, std::uint16_t*,
                      ThreadPool&);
template void color_matrix(const double[12], const std::uint8_t*, int, std::size_t, std::uint8_t*,
                           ThreadPool&);
template void color_matrix(const double[12], const std::uint16_t*, int, std::size_t, std::uint16_t*,
                           ThreadPool&);
template void color_matrix(const double[12], const float*, int, std::size_t, float*, ThreadPool&);

}  // namespace fastsynth
