// SampleKernels: see compose/samples.hpp. Compiled without contraction of a * b + c into fused
// operations, so that all sets round alike.
#include "fastsynth/compose/samples.hpp"

#include <limits>

#include "kernels/simd.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

using std::size_t;
using std::uint16_t;
using std::uint8_t;

// x + 1.5 · 2^23 has the integer nearest to x (halves to even) in its low bits, for |x| < 2^22.
constexpr float rounder = 12582912.0f;

inline float nearest(float x) { return (x + rounder) - rounder; }

template <class T>
inline T rounded(float x, float top) {
    x = x > 0.0f ? x : 0.0f;  // also for NaN
    x = x < top ? x : top;
    return static_cast<T>(static_cast<std::int32_t>(nearest(x)));
}

void decode_u8(const uint8_t* in, float* out, size_t n) {
    size_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
        _mm512_storeu_ps(
            out + i, _mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepu8_epi32(0xffff, bytes)));
    }
#elif defined(__AVX2__)
    for (; i + 8 <= n; i += 8) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in + i));
        _mm256_storeu_ps(out + i, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)));
    }
#endif
    for (; i < n; ++i) out[i] = in[i];
}

void decode_u16(const uint16_t* in, float* out, size_t n) {
    for (size_t i = 0; i < n; ++i) out[i] = in[i];
}

bool decode_f32(const float* in, float* out, size_t n) {
    constexpr float room = 1e16f;  // for sums: what overflows with it is too large
    Ints finite = Ints{} - 1;      // all bits
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        const Floats x = load(in + i);
        finite &= x * room - x * room == 0.0f;
        store(out + i, x);
    }
    bool all = true;
    for (int lane = 0; lane < lanes; ++lane) all = all && finite[lane] != 0;
    for (; i < n; ++i) {
        all = all && in[i] * room - in[i] * room == 0.0f;
        out[i] = in[i];
    }
    return all;
}

void decode_u8_to_i16(const uint8_t* in, std::int16_t* out, size_t n) {
    size_t i = 0;
#if defined(__AVX512F__)
    for (; i + 32 <= n; i += 32) {
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i));
        _mm512_storeu_si512(out + i, _mm512_maskz_cvtepu8_epi16(0xffffffff, bytes));
    }
#elif defined(__AVX2__)
    for (; i + 16 <= n; i += 16) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_cvtepu8_epi16(bytes));
    }
#endif
    for (; i < n; ++i) out[i] = in[i];
}

void encode_i16_to_u8(const std::int16_t* in, uint8_t* out, size_t n) {
    size_t i = 0;
#if defined(__AVX512F__)
    const __m512i zero = _mm512_setzero_si512();
    for (; i + 32 <= n; i += 32) {
        const __m512i x = _mm512_maskz_max_epi16(0xffffffff, _mm512_loadu_si512(in + i), zero);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i),
                            _mm512_maskz_cvtusepi16_epi8(0xffffffff, x));
    }
#elif defined(__AVX2__)
    for (; i + 16 <= n; i += 16) {
        const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
        const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i + 8));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm_packus_epi16(a, b));
    }
#endif
    for (; i < n; ++i) out[i] = static_cast<uint8_t>(in[i] < 0 ? 0 : in[i] > 255 ? 255 : in[i]);
}

void encode_u8(const float* in, float gain, float offset, uint8_t* out, size_t n) {
    size_t i = 0;
#if defined(__AVX512F__)
    const __m512 g = _mm512_set1_ps(gain), o = _mm512_set1_ps(offset);
    const __m512 zero = _mm512_setzero_ps(), top = _mm512_set1_ps(255.0f);
    for (; i + 16 <= n; i += 16) {
        const __m512 x = _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(in + i), g), o);
        const __m512 cut = _mm512_maskz_min_ps(0xffff, _mm512_maskz_max_ps(0xffff, x, zero), top);
        const __m512i whole = _mm512_maskz_cvtps_epi32(0xffff, cut);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                         _mm512_maskz_cvtepi32_epi8(0xffff, whole));
    }
#elif defined(__AVX2__)
    const __m256 g = _mm256_set1_ps(gain), o = _mm256_set1_ps(offset);
    const __m256 zero = _mm256_setzero_ps(), top = _mm256_set1_ps(255.0f);
    for (; i + 8 <= n; i += 8) {
        const __m256 x = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(in + i), g), o);
        const __m256i whole = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(x, zero), top));
        const __m128i words =
            _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(out + i), _mm_packus_epi16(words, words));
    }
#endif
    for (; i < n; ++i) out[i] = rounded<uint8_t>(in[i] * gain + offset, 255.0f);
}

void encode_u16(const float* in, float gain, float offset, uint16_t* out, size_t n) {
    for (size_t i = 0; i < n; ++i) out[i] = rounded<uint16_t>(in[i] * gain + offset, 65535.0f);
}

void encode_f32(const float* in, float gain, float offset, float low, float high, float* out,
                size_t n) {
    for (size_t i = 0; i < n; ++i) {
        float x = in[i] * gain + offset;
        x = x < low ? low : x;
        out[i] = x > high ? high : x;
    }
}

inline std::int32_t bits_of(float x) {
    std::int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float float_of(std::int32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

/// x^y for normal x > 0, relative error about 3e-7 while |y log2 x| < 8: 2^(y log2 x), held
/// within 2^-100 … 2^64, which leaves room for sums.
inline float power(float x, float y) {
    // x = 2^e m with m in [sqrt(1/2), sqrt(2)); log2 m = 2/ln 2 artanh s, s = (m - 1) / (m + 1).
    constexpr std::int32_t root_half = 0x3f3504f3;
    const std::int32_t shifted = bits_of(x) - root_half;
    const float e = static_cast<float>(shifted >> 23);
    const float m = float_of((shifted & 0x007fffff) + root_half);
    const float s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
    const float series = 1.0f + s2 * (1.0f / 3 + s2 * (1.0f / 5 + s2 * (1.0f / 7 + s2 / 9)));
    float t = y * (e + s * 2.885390082f * series);
    t = t < -100.0f ? -100.0f : t > 64.0f ? 64.0f : t;
    const float whole = nearest(t), r = (t - whole) * 0.6931471806f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * float_of((static_cast<std::int32_t>(whole) + 127) << 23);
}

void to_linear(const float* in, float* out, size_t n) {
    for (size_t i = 0; i < n; ++i) {
        const float x = in[i], high = x > 0.04045f ? x : 0.04045f;
        const float bent = power((high + 0.055f) * (1.0f / 1.055f), 2.4f);
        out[i] = x > 0.04045f ? bent : x * (1.0f / 12.92f);
    }
}

void to_srgb(const float* in, float* out, size_t n) {
    for (size_t i = 0; i < n; ++i) {
        const float x = in[i], high = x > 0.0031308f ? x : 0.0031308f;
        const float bent = 1.055f * power(high, 1.0f / 2.4f) - 0.055f;
        out[i] = x > 0.0031308f ? bent : x * 12.92f;
    }
}

// Two passes: the compiler makes vectors of either, not of one that mixes both precisions with the
// bits of the power.
void tone(const float* in, float* out, size_t n, const compose::ToneCurve& curve) {
    const double center = curve.center, slope = curve.slope, middle = curve.middle;
    for (size_t i = 0; i < n; ++i) {
        const auto t = static_cast<float>((static_cast<double>(in[i]) - center) * slope + middle);
        const float above = t > 0.0f ? t : 0.0f;
        out[i] = above < 1.0f ? above : 1.0f;
    }
    const auto low = static_cast<float>(curve.low), rise = static_cast<float>(curve.high) - low;
    const auto exponent = static_cast<float>(curve.exponent);
    if (exponent == 1.0f) {
        for (size_t i = 0; i < n; ++i) out[i] = low + rise * out[i];
        return;
    }
    constexpr float least = std::numeric_limits<float>::min();
    for (size_t i = 0; i < n; ++i) {
        const float t = out[i], normal = t > least ? t : least;
        const float bent = power(normal, exponent);
        const float cut = bent < 1.0f ? bent : 1.0f;
        const float ended = t < 1.0f ? cut : 1.0f;
        out[i] = low + rise * (t > 0.0f ? ended : 0.0f);
    }
}

void range(const float* in, size_t n, float* low, float* high) {
    constexpr int streams = 4;
    const float infinity = std::numeric_limits<float>::infinity();
    Floats least[streams], most[streams];
    Ints ordered = Ints{} - 1;  // all bits: no NaN so far
    for (int s = 0; s < streams; ++s) {
        least[s] = broadcast(infinity);
        most[s] = broadcast(-infinity);
    }
    size_t i = 0;
    for (; i + streams * lanes <= n; i += streams * lanes) {
        for (int s = 0; s < streams; ++s) {
            const Floats x = load(in + i + s * lanes);
            ordered &= x == x;
            least[s] = x < least[s] ? x : least[s];
            most[s] = x > most[s] ? x : most[s];
        }
    }
    float a = infinity, b = -infinity;
    bool numbers = true;
    for (; i < n; ++i) {
        numbers = numbers && in[i] == in[i];
        a = in[i] < a ? in[i] : a;
        b = in[i] > b ? in[i] : b;
    }
    for (int lane = 0; lane < lanes; ++lane) {
        numbers = numbers && ordered[lane] != 0;
        for (int s = 0; s < streams; ++s) {
            a = least[s][lane] < a ? least[s][lane] : a;
            b = most[s][lane] > b ? most[s][lane] : b;
        }
    }
    *low = numbers ? a : std::numeric_limits<float>::quiet_NaN();
    *high = numbers ? b : std::numeric_limits<float>::quiet_NaN();
}

}  // namespace

extern const compose::SampleKernels sample_table;
const compose::SampleKernels sample_table{
    decode_u8,        decode_u16, decode_f32, decode_u8_to_i16,
    encode_i16_to_u8, encode_u8,  encode_u16, encode_f32,
    to_linear,        to_srgb,    tone,       range};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
