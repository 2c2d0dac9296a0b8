// BlendKernels: see compose/blend.hpp. Loops that the compiler vectorises. The general case works
// on runs of pixels that fit the first cache, as planes of float32 (float64 for 16-bit images).
#include "fastsynth/compose/blend.hpp"

#include <type_traits>

#include "kernels/blend_modes.hpp"

namespace fastsynth {

namespace FASTSYNTH_KERNEL_SET {
namespace {

/// The type that samples are computed in, and the value of white.
template <class T>
struct Sample;
template <>
struct Sample<std::uint8_t> {
    using Real = float;
    static constexpr int top = 255;
};
template <>
struct Sample<std::uint16_t> {
    using Real = double;
    static constexpr int top = 65535;
};
template <>
struct Sample<float> {
    using Real = float;
    static constexpr int top = 1;
};

constexpr std::size_t run = 256;  // pixels: a dozen planes of float64 take 24 KiB

// ---- samples in and out ----

inline float decoded(std::uint8_t v, const SrgbTables& tables) { return tables.decode_byte[v]; }
inline double decoded(std::uint16_t v, const SrgbTables& tables) { return tables.decode_word[v]; }
inline float decoded(float v, const SrgbTables& tables) {
    const float place = smaller(larger(v, 0.0f), 1.0f) * SrgbTables::steps;
    const int i = static_cast<int>(place);
    const float below = tables.decode[i];
    return below + (place - static_cast<float>(i)) * (tables.decode[i + 1] - below);
}

template <class R>
R encoded(R v, const SrgbTables& tables) {
    const R place = root(v) * SrgbTables::steps;
    const int i = static_cast<int>(place);
    const R below = tables.encode[i];
    const R curve = below + (place - static_cast<R>(i)) * (tables.encode[i + 1] - below);
    return v <= R(0.0031308) ? R(12.92) * v : curve;
}

/// Every `stride`-th sample as a plane of values in [0, 1].
template <int stride, class T, class R>
void read_plane(const T* __restrict samples, std::size_t n, R* __restrict plane) {
    constexpr R scale = R(1) / R(Sample<T>::top);
    for (std::size_t i = 0; i < n; ++i) plane[i] = static_cast<R>(samples[i * stride]) * scale;
}

template <class T, class R>
void read_linear(const T* __restrict samples, int stride, std::size_t n, R* __restrict plane,
                 const SrgbTables& tables) {
    for (std::size_t i = 0; i < n; ++i) plane[i] = decoded(samples[i * stride], tables);
}

template <class T, class R>
void read_any(const T* samples, int stride, std::size_t n, R* plane, const SrgbTables* linear) {
    if (linear) return read_linear(samples, stride, n, plane, *linear);
    if (stride == 1) return read_plane<1>(samples, n, plane);
    if (stride == 3) return read_plane<3>(samples, n, plane);
    read_plane<4>(samples, n, plane);
}

template <int stride, class T, class R>
void write_plane(const R* __restrict plane, std::size_t n, T* __restrict samples) {
    for (std::size_t i = 0; i < n; ++i) {
        const R value = smaller(larger(plane[i], R(0)), R(1)) * R(Sample<T>::top);
        if constexpr (Sample<T>::top == 1)
            samples[i * stride] = static_cast<T>(value);
        else  // to the nearest: the conversion cuts off what is behind the point
            samples[i * stride] = static_cast<T>(static_cast<int>(value + R(0.5)));
    }
}

template <class T, class R>
void write_any(R* plane, std::size_t n, T* samples, int stride, const SrgbTables* linear) {
    if (linear)
        for (std::size_t i = 0; i < n; ++i)
            plane[i] = encoded(smaller(larger(plane[i], R(0)), R(1)), *linear);
    if (stride == 1) return write_plane<1>(plane, n, samples);
    if (stride == 3) return write_plane<3>(plane, n, samples);
    write_plane<4>(plane, n, samples);
}

/// The colour planes of a layer (three times the same for grey), and its alpha.
template <class R>
struct Planes {
    R memory[4][run];
    R* color[3];
    R* alpha = memory[3];
};

template <class T, class R>
void read_layer(Layer<T> layer, std::size_t begin, std::size_t n, Planes<R>& planes,
                const SrgbTables* linear) {
    const T* samples = layer.samples + begin * static_cast<std::size_t>(layer.channels);
    const int colors = layer.channels == 1 ? 1 : 3;
    for (int c = 0; c < 3; ++c) {
        planes.color[c] = planes.memory[c < colors ? c : 0];
        if (c < colors) read_any(samples + c, layer.channels, n, planes.color[c], linear);
    }
    if (layer.channels == 4)
        read_any(samples + 3, 4, n, planes.alpha, nullptr);
    else
        for (std::size_t i = 0; i < n; ++i) planes.alpha[i] = R(1);
}

// ---- the general case ----

/// Cs' ← (1 - αb) Cs + αb B, then αo Co = αs Fs Cs' + αb Fb Cb, for one channel; co ← Co.
template <class R>
void mix_channel(const PorterDuff& rule, const R* __restrict cs, const R* __restrict as,
                 const R* __restrict cb, const R* __restrict ab, const R* __restrict blended,
                 std::size_t n, R* __restrict co) {
    const R fs0 = rule.fs[0], fs1 = rule.fs[1], fb0 = rule.fb[0], fb1 = rule.fb[1];
    for (std::size_t i = 0; i < n; ++i) {
        const R ws = as[i] * (fs0 + fs1 * ab[i]), wb = ab[i] * (fb0 + fb1 * as[i]);
        const R source = (R(1) - ab[i]) * cs[i] + ab[i] * blended[i];
        const R color = smaller(ws * source + wb * cb[i], R(1));
        const R alpha = smaller(ws + wb, R(1));
        const R whole = alpha > R(0) ? alpha : R(1);
        co[i] = alpha > R(0) ? color / whole : R(0);
    }
}

template <class R>
void mix_alpha(const PorterDuff& rule, const R* __restrict as, const R* __restrict ab,
               std::size_t n, R* __restrict ao) {
    const R fs0 = rule.fs[0], fs1 = rule.fs[1], fb0 = rule.fb[0], fb1 = rule.fb[1];
    for (std::size_t i = 0; i < n; ++i)
        ao[i] = as[i] * (fs0 + fs1 * ab[i]) + ab[i] * (fb0 + fb1 * as[i]);
}

template <class T>
void composite_pixels(const Composition& how, Layer<T> source, Layer<T> backdrop, const float* mask,
                      T* out, int out_channels, std::size_t pixels) {
    using R = typename Sample<T>::Real;
    const SrgbTables* linear = how.linear ? &srgb_tables() : nullptr;
    Planes<R> s, b;
    R blended[3][run], result[run];
    const R opacity = static_cast<R>(how.alpha);
    const bool grey = source.channels == 1 && backdrop.channels == 1;
    const int colors = out_channels == 1 ? 1 : 3;
    for (std::size_t begin = 0; begin < pixels; begin += run) {
        const std::size_t n = pixels - begin < run ? pixels - begin : run;
        read_layer(source, begin, n, s, linear);
        read_layer(backdrop, begin, n, b, linear);
        if (mask)
            for (std::size_t i = 0; i < n; ++i)
                s.alpha[i] *= opacity * static_cast<R>(mask[begin + i]);
        else
            for (std::size_t i = 0; i < n; ++i) s.alpha[i] *= opacity;
        if (is_separable(how.mode))
            for (int c = 0; c < (grey ? 1 : 3); ++c)
                blend_plane(how.mode, b.color[c], s.color[c], blended[c], n);
        else
            blend_pixels(how.mode, b.color, s.color, blended[0], blended[1], blended[2], n);
        T* to = out + begin * static_cast<std::size_t>(out_channels);
        for (int c = 0; c < colors; ++c) {
            mix_channel(how.rule, s.color[c], s.alpha, b.color[c], b.alpha, blended[grey ? 0 : c],
                        n, result);
            write_any(result, n, to + c, out_channels, linear);
        }
        if (out_channels == 4) {
            mix_alpha(how.rule, s.alpha, b.alpha, n, result);
            write_any(result, n, to + 3, 4, nullptr);
        }
    }
}

// ---- opaque layers and a mode that takes channels singly: all samples alike ----

/// out ← w s + (1 - w) b, cut to [0, 1]
inline void mix_by(const float* __restrict weight, const float* __restrict s,
                   const float* __restrict b, float* __restrict out, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        const float mixed = weight[i] * s[i] + (1.0f - weight[i]) * b[i];
        out[i] = smaller(larger(mixed, 0.0f), 1.0f);
    }
}

/// out ← w B(b, s) + (1 - w) b
template <class T>
void composite_samples(const Composition& how, const T* source, const T* backdrop,
                       const float* mask, T* out, int channels, std::size_t pixels) {
    using R = typename Sample<T>::Real;
    const SrgbTables* linear = how.linear ? &srgb_tables() : nullptr;
    R s[3 * run], b[3 * run], blended[3 * run], weight[3 * run];
    const R opacity = static_cast<R>(how.alpha);
    const auto c = static_cast<std::size_t>(channels);
    for (std::size_t i = 0; i < 3 * run; ++i) weight[i] = opacity;
    for (std::size_t begin = 0; begin < pixels; begin += run) {
        const std::size_t count = pixels - begin < run ? pixels - begin : run;
        const std::size_t n = count * c;
        if (mask && channels == 1)
            for (std::size_t i = 0; i < count; ++i)
                weight[i] = opacity * static_cast<R>(mask[begin + i]);
        else if (mask)
            for (std::size_t i = 0; i < count; ++i)
                weight[3 * i] = weight[3 * i + 1] = weight[3 * i + 2] =
                    opacity * static_cast<R>(mask[begin + i]);
        if constexpr (std::is_same_v<T, float>) {
            if (how.mode == BlendMode::normal && !linear) {  // floats need no planes of their own
                mix_by(weight, source + begin * c, backdrop + begin * c, out + begin * c, n);
                continue;
            }
        }
        read_any(source + begin * c, 1, n, s, linear);
        read_any(backdrop + begin * c, 1, n, b, linear);
        blend_plane(how.mode, b, s, blended, n);
        for (std::size_t i = 0; i < n; ++i)
            blended[i] = weight[i] * blended[i] + (R(1) - weight[i]) * b[i];
        write_any(blended, n, out + begin * c, 1, linear);
    }
}

template <class T>
void composite(const Composition& how, Layer<T> source, Layer<T> backdrop, const float* mask,
               T* out, int out_channels, std::size_t pixels) {
    const PorterDuff& rule = how.rule;
    const bool over = rule.fs[0] == 1 && rule.fs[1] == 0 && rule.fb[0] == 1 && rule.fb[1] == -1;
    if (over && is_separable(how.mode) && out_channels < 4 && source.channels == out_channels &&
        backdrop.channels == out_channels)
        composite_samples(how, source.samples, backdrop.samples, mask, out, out_channels, pixels);
    else
        composite_pixels(how, source, backdrop, mask, out, out_channels, pixels);
}

// ---- the plain mean, and modes as quick as a copy ----

/// b + α (a - b). A float64 holds the product of a difference of 17 bits and α to 2^-36 of a step.
template <class T>
void mix_closely(const T* __restrict a, const T* __restrict b, double alpha, T* __restrict out,
                 std::size_t n) {
    constexpr int above = Sample<T>::top + 1;  // so that cutting off rounds to the nearest
    for (std::size_t i = 0; i < n; ++i) {
        const int difference = static_cast<int>(a[i]) - static_cast<int>(b[i]);
        const double moved = static_cast<double>(difference) * alpha + (above + 0.5);
        out[i] = static_cast<T>(static_cast<int>(b[i]) + static_cast<int>(moved) - above);
    }
}

/// Bytes: the product in fixed point where that rounds each of the 511 differences to a nearest
/// whole number, which is nearly always, else as above.
void mix(const std::uint8_t* __restrict a, const std::uint8_t* __restrict b, double alpha,
         std::uint8_t* __restrict out, std::size_t n) {
    constexpr int bits = 22, half = 1 << (bits - 1);
    const int weight = static_cast<int>(alpha * (1 << bits) + 0.5);
    double worst = 0;
    for (int difference = -255; difference <= 255; ++difference) {
        const double error =
            static_cast<double>((difference * weight + half) >> bits) - difference * alpha;
        worst = larger(worst, larger(error, -error));
    }
    if (worst > 0.5 + 1e-9) return mix_closely(a, b, alpha, out, n);
    for (std::size_t i = 0; i < n; ++i) {
        const int difference = static_cast<int>(a[i]) - static_cast<int>(b[i]);
        out[i] = static_cast<std::uint8_t>(static_cast<int>(b[i]) +
                                           ((difference * weight + half) >> bits));
    }
}

void mix(const std::uint16_t* a, const std::uint16_t* b, double alpha, std::uint16_t* out,
         std::size_t n) {
    mix_closely(a, b, alpha, out, n);
}

void mix(const float* __restrict a, const float* __restrict b, double alpha, float* __restrict out,
         std::size_t n) {
    const auto of_a = static_cast<float>(alpha), of_b = static_cast<float>(1.0 - alpha);
    for (std::size_t i = 0; i < n; ++i) out[i] = of_a * a[i] + of_b * b[i];
}

/// a b / top, rounded to the nearest: for x = a b + ⌈top / 2⌉, x / top = (x + x / (top+1)) /
/// (top+1) in whole numbers.
inline unsigned product(std::uint8_t a, std::uint8_t b) {
    const unsigned x = unsigned(a) * b + 128u;
    return (x + (x >> 8)) >> 8;
}
inline unsigned product(std::uint16_t a, std::uint16_t b) {
    const unsigned x = unsigned(a) * b + 32768u;
    return (x + (x >> 16)) >> 16;
}
inline float product(float a, float b) { return a * b; }

template <class T>
bool direct(BlendMode mode, const T* __restrict a, const T* __restrict b, T* __restrict out,
            std::size_t n) {
    constexpr T top = static_cast<T>(Sample<T>::top);
    switch (mode) {
        case BlendMode::darken:
            for (std::size_t i = 0; i < n; ++i) out[i] = a[i] < b[i] ? a[i] : b[i];
            return true;
        case BlendMode::lighten:
            for (std::size_t i = 0; i < n; ++i) out[i] = a[i] > b[i] ? a[i] : b[i];
            return true;
        case BlendMode::difference:
            for (std::size_t i = 0; i < n; ++i)
                out[i] = static_cast<T>(a[i] > b[i] ? a[i] - b[i] : b[i] - a[i]);
            return true;
        case BlendMode::add:
            for (std::size_t i = 0; i < n; ++i) {
                const T room = static_cast<T>(top - b[i]);
                out[i] = static_cast<T>(b[i] + (a[i] < room ? a[i] : room));
            }
            return true;
        case BlendMode::subtract:
            for (std::size_t i = 0; i < n; ++i)
                out[i] = static_cast<T>(a[i] - (a[i] < b[i] ? a[i] : b[i]));
            return true;
        case BlendMode::multiply:
            for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<T>(product(a[i], b[i]));
            return true;
        case BlendMode::screen:
            for (std::size_t i = 0; i < n; ++i)
                out[i] = static_cast<T>(
                    top - product(static_cast<T>(top - a[i]), static_cast<T>(top - b[i])));
            return true;
        default:
            return false;
    }
}

}  // namespace

extern const BlendTables blend_table;
const BlendTables blend_table{
    {mix, direct<std::uint8_t>, composite<std::uint8_t>},
    {mix, direct<std::uint16_t>, composite<std::uint16_t>},
    {mix, direct<float>, composite<float>},
};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
