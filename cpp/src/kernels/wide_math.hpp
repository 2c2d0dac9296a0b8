// Elementary functions on vectors of float64, the same bits in every kernel set: only additions,
// multiplications, divisions and square roots, each of which IEEE 754 rounds in one way, in a fixed
// order. Files that include this are compiled without contraction to fused multiply-adds.
//
// Errors are a few units in the last place (sin and cos: for |x| < 10⁶). Only *.isa.cpp files
// include this.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/simd.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace wide {

typedef std::int64_t Longs __attribute__((vector_size(wide_lanes * sizeof(std::int64_t))));

inline Doubles fill(double x) { return x - Doubles{}; }
inline Longs fill_long(std::int64_t x) { return x - Longs{}; }
inline Doubles load(const double* p) {
    Doubles v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store(double* p, Doubles v) { std::memcpy(p, &v, sizeof v); }
inline Longs bits(Doubles v) {
    Longs out;
    std::memcpy(&out, &v, sizeof v);
    return out;
}
inline Doubles from_bits(Longs v) {
    Doubles out;
    std::memcpy(&out, &v, sizeof v);
    return out;
}
inline Doubles select(Longs mask, Doubles a, Doubles b) { return mask ? a : b; }
inline Doubles truth(Longs mask) { return select(mask, fill(1), fill(0)); }
inline bool any(Longs mask) {
    std::int64_t found = 0;
    for (int i = 0; i < wide_lanes; ++i) found |= mask[i];
    return found != 0;
}

inline Doubles abs(Doubles x) { return from_bits(bits(x) & fill_long(INT64_MAX)); }
inline Doubles sqrt(Doubles x) {
#if defined(__AVX512F__)
    return _mm512_maskz_sqrt_pd(0xff, x);
#elif defined(__AVX2__)
    return _mm256_sqrt_pd(x);
#else
    Doubles out;
    for (int i = 0; i < wide_lanes; ++i) out[i] = __builtin_sqrt(x[i]);
    return out;
#endif
}

// Adding and taking away 1.5 · 2⁵² rounds to the nearest integer, halves to even, and leaves it in
// the low bits of the sum.
constexpr double magic = 6755399441055744.0;

inline Doubles round(Doubles x) {
    const Doubles rounded = (x + magic) - magic;
    return select(abs(x) < fill(2251799813685248.0), rounded, x);
}
inline Doubles floor(Doubles x) {
    const Doubles near = round(x);
    return near - truth(near > x);
}
inline Longs to_long(Doubles whole) { return bits(whole + magic) - bits(fill(magic)); }
inline Doubles to_double(Longs whole) { return from_bits(whole + bits(fill(magic))) - magic; }

/// The polynomial Σ c[i] x^i.
template <std::size_t count>
inline Doubles polynomial(Doubles x, const double (&c)[count]) {
    Doubles sum = fill(c[count - 1]);
    for (std::size_t i = count - 1; i-- > 0;) sum = sum * x + c[i];
    return sum;
}

inline Doubles power_of_two(Longs k) { return from_bits((k + 1023) << 52); }

/// e^x: 2^k e^r with |r| ≤ ln 2 / 2, Taylor's series of e^r to r^13.
inline Doubles exp(Doubles x) {
    static constexpr double c[] = {1,
                                   1,
                                   1.0 / 2,
                                   1.0 / 6,
                                   1.0 / 24,
                                   1.0 / 120,
                                   1.0 / 720,
                                   1.0 / 5040,
                                   1.0 / 40320,
                                   1.0 / 362880,
                                   1.0 / 3628800,
                                   1.0 / 39916800,
                                   1.0 / 479001600,
                                   1.0 / 6227020800};
    const Doubles limited = select(x > fill(710), fill(710), select(x < fill(-750), fill(-750), x));
    const Doubles k = round(limited * 1.4426950408889634);
    const Doubles r = (limited - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;
    const Longs whole = to_long(k);
    const Longs half = whole >> 1;  // in two steps, for 2^k may leave the range where e^x does not
    const Doubles value = polynomial(r, c) * power_of_two(half) * power_of_two(whole - half);
    return select(x != x, x, value);
}

/// ln x: x = 2^k m with √½ ≤ m < √2, ln m = 2 artanh s, s = (m - 1) / (m + 1).
inline Doubles log(Doubles x) {
    static constexpr double c[] = {1,        1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9, 1.0 / 11,
                                   1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21};
    const Longs tiny = x < fill(std::numeric_limits<double>::min());
    const Doubles scaled = select(tiny, x * 18014398509481984.0, x);  // 2^54: out of subnormals
    Longs exponent = ((bits(scaled) >> 52) & 0x7ff) - 1023;
    Doubles m = from_bits((bits(scaled) & 0xfffffffffffffLL) | bits(fill(1)));
    const Longs large = m > fill(1.4142135623730951);
    m = select(large, m * 0.5, m);
    exponent = exponent - large + (tiny & -54);
    const Doubles s = (m - 1.0) / (m + 1.0);
    const Doubles k = to_double(exponent);
    const Doubles value = k * 0.693147180369123816490 +
                          (2.0 * s * polynomial(s * s, c) + k * 1.90821492927058770002e-10);
    const double infinity = std::numeric_limits<double>::infinity();
    const Doubles bounded = select(x == fill(infinity), x, value);
    const Doubles zero = select(x == fill(0), fill(-infinity), bounded);
    return select(x >= fill(0), zero, fill(std::numeric_limits<double>::quiet_NaN()));
}

/// Sine and cosine: x = k π/2 + r, |r| ≤ π/4, Taylor's series in r.
inline void sincos(Doubles x, Doubles& sine, Doubles& cosine) {
    static constexpr double s[] = {1,
                                   -1.0 / 6,
                                   1.0 / 120,
                                   -1.0 / 5040,
                                   1.0 / 362880,
                                   -1.0 / 39916800,
                                   1.0 / 6227020800,
                                   -1.0 / 1307674368000,
                                   1.0 / 355687428096000};
    static constexpr double c[] = {1,
                                   -1.0 / 2,
                                   1.0 / 24,
                                   -1.0 / 720,
                                   1.0 / 40320,
                                   -1.0 / 3628800,
                                   1.0 / 479001600,
                                   -1.0 / 87178291200,
                                   1.0 / 20922789888000};
    // Beyond 2^30 nothing is left of the place within a turn that a picture could show.
    const Longs usable = abs(x) < fill(1073741824.0);
    const Doubles finite = select(usable, x, fill(0));
    const Doubles k = round(finite * 0.63661977236758134);
    // π/2 in three parts of 33 bits and more (Cody & Waite): k times the first two is exact.
    const Doubles r = ((finite - k * 1.57079632673412561417e+00) - k * 6.07710050630396597660e-11) -
                      k * 2.02226624879595063154e-21;
    const Doubles q = r * r;
    const Doubles sin_r = r * polynomial(q, s), cos_r = polynomial(q, c);
    const Longs quadrant = to_long(k);
    const Longs odd = (quadrant & 1) != 0;
    const Doubles a = select(odd, cos_r, sin_r), b = select(odd, sin_r, cos_r);
    sine = select((quadrant & 2) != 0, -a, a);
    cosine = select(((quadrant + 1) & 2) != 0, -b, b);
    const Doubles lost = x - x;  // not a number for infinities
    sine = select(usable, sine, lost);
    cosine = select(usable, cosine, lost + 1.0);
}

/// arctan of any x: 1/x for large ones, then the angle halved twice, then the series.
inline Doubles atan(Doubles x) {
    static constexpr double c[] = {1,        -1.0 / 3,  1.0 / 5,  -1.0 / 7,  1.0 / 9,  -1.0 / 11,
                                   1.0 / 13, -1.0 / 15, 1.0 / 17, -1.0 / 19, 1.0 / 21, -1.0 / 23};
    const Doubles size = abs(x);
    const Longs large = size > fill(1);
    Doubles v = select(large, 1.0 / size, size);
    v = v / (1.0 + sqrt(1.0 + v * v));
    v = v / (1.0 + sqrt(1.0 + v * v));
    const Doubles angle = 4.0 * v * polynomial(v * v, c);
    const Doubles value = select(large, 1.5707963267948966 - angle, angle);
    return select(x < fill(0), -value, value);
}

inline Doubles atan2(Doubles y, Doubles x) {
    const Doubles ay = abs(y), ax = abs(x);
    const Longs steep = ay > ax;
    const Doubles large = select(steep, ay, ax), small = select(steep, ax, ay);
    const Doubles ratio = select(large == fill(0), fill(0), small / large);
    Doubles angle = atan(ratio);
    angle = select(steep, 1.5707963267948966 - angle, angle);
    angle = select(x < fill(0), 3.141592653589793 - angle, angle);
    return select(y < fill(0), -angle, angle);
}

inline Doubles integer_power(Doubles x, int exponent) {
    Doubles base = x, out = fill(1);
    for (int k = exponent < 0 ? -exponent : exponent; k; k >>= 1) {
        if (k & 1) out = out * base;
        base = base * base;
    }
    return exponent < 0 ? 1.0 / out : out;
}

/// x^y; a negative x has a power where y is whole.
inline Doubles pow(Doubles x, Doubles y) {
    const Doubles size = exp(y * log(abs(x)));
    const Doubles half = y * 0.5;
    const Longs whole = round(y) == y, odd = round(half) != half;
    const Doubles negative =
        select(whole, select(odd, -size, size), fill(std::numeric_limits<double>::quiet_NaN()));
    const Doubles value = select(x < fill(0), negative, size);
    return select((y == fill(0)) | (x == fill(1)), fill(1), value);
}

}  // namespace wide
}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
