// The one-dimensional transforms Bᵀ d and Aᵀ M of winograd_points.hpp, written out for vectors.
//
// Points come in pairs ±p, so rows i and i+1 share their even and odd parts: Bᵀ row(±p) = even(p) ±
// p · odd(p), where the parts are products of (x² - q²) over the other pairs q. Likewise Aᵀ needs
// only the sums and differences of each pair.
#pragma once

#include "simd.hpp"
#include "winograd_points.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

template <int m>
struct Winograd;

template <>
struct Winograd<4> : WinogradPoints<4> {
    static constexpr int m = 4, n = 6;
    static constexpr float p = a, q = b, pp = a * a, qq = b * b, ppp = a * a * a, qqq = b * b * b;
    static constexpr float sum = a * a + b * b, product = a * a * b * b;

    /// r = Bᵀ d, six values each.
    static FASTSYNTH_INLINE void input(const Floats* d, Floats* r) {
        const Floats even_p = d[4] - qq * d[2], odd_p = p * (d[3] - qq * d[1]);
        const Floats even_q = d[4] - pp * d[2], odd_q = q * (d[3] - pp * d[1]);
        r[0] = (d[4] - sum * d[2]) + product * d[0];
        r[1] = even_p + odd_p;
        r[2] = even_p - odd_p;
        r[3] = even_q + odd_q;
        r[4] = even_q - odd_q;
        r[5] = (d[5] - sum * d[3]) + product * d[1];
    }

    /// y = Aᵀ s, six sums to four outputs.
    static FASTSYNTH_INLINE void output(const Floats* s, Floats* y) {
        const Floats even_p = s[1] + s[2], odd_p = s[1] - s[2];
        const Floats even_q = s[3] + s[4], odd_q = s[3] - s[4];
        y[0] = s[0] + (even_p + even_q);
        y[1] = p * odd_p + q * odd_q;
        y[2] = pp * even_p + qq * even_q;
        y[3] = s[5] + (ppp * odd_p + qqq * odd_q);
    }
};

template <>
struct Winograd<6> : WinogradPoints<6> {
    static constexpr int m = 6, n = 8;
    static constexpr float aa = a * a, bb = b * b, cc = c * c;
    /// Coefficients of (x² - aa)(x² - bb)(x² - cc) = x⁶ - s1 x⁴ + s2 x² - s3.
    static constexpr float s1 = aa + bb + cc, s2 = aa * bb + aa * cc + bb * cc, s3 = aa * bb * cc;

    /// Rows ±p from the even and odd part of (x² - qq)(x² - rr) x.
    static FASTSYNTH_INLINE void pair(const Floats* d, float p, float qq, float rr, Floats* r) {
        const Floats even = (d[6] - (qq + rr) * d[4]) + (qq * rr) * d[2];
        const Floats odd = p * ((d[5] - (qq + rr) * d[3]) + (qq * rr) * d[1]);
        r[0] = even + odd;
        r[1] = even - odd;
    }

    static FASTSYNTH_INLINE void input(const Floats* d, Floats* r) {
        r[0] = (d[6] - s1 * d[4]) + (s2 * d[2] - s3 * d[0]);
        pair(d, a, bb, cc, r + 1);
        pair(d, b, aa, cc, r + 3);
        pair(d, c, aa, bb, r + 5);
        r[7] = (d[7] - s1 * d[5]) + (s2 * d[3] - s3 * d[1]);
    }

    static FASTSYNTH_INLINE void output(const Floats* s, Floats* y) {
        constexpr float fa = a, fb = b, fc = c;
        const Floats even_a = s[1] + s[2], odd_a = fa * (s[1] - s[2]);
        const Floats even_b = s[3] + s[4], odd_b = fb * (s[3] - s[4]);
        const Floats even_c = s[5] + s[6], odd_c = fc * (s[5] - s[6]);
        y[0] = s[0] + ((even_a + even_b) + even_c);
        y[1] = (odd_a + odd_b) + odd_c;
        y[2] = (aa * even_a + bb * even_b) + cc * even_c;
        y[3] = (aa * odd_a + bb * odd_b) + cc * odd_c;
        y[4] = ((aa * aa) * even_a + (bb * bb) * even_b) + (cc * cc) * even_c;
        y[5] = s[7] + (((aa * aa) * odd_a + (bb * bb) * odd_b) + (cc * cc) * odd_c);
    }
};

/// Both dimensions of the input transform: load(row, column) gives the tile's values, store(point,
/// value) takes Bᵀ d B at point = row * n + column.
template <class W, class Load, class Store>
FASTSYNTH_INLINE void transform_input_tile(Load load_value, Store store_value) {
    constexpr int n = W::n;
    Floats rows[n][n];
    FASTSYNTH_UNROLL for (int j = 0; j < n; ++j) {
        Floats d[n], r[n];
        FASTSYNTH_UNROLL for (int i = 0; i < n; ++i) d[i] = load_value(i, j);
        W::input(d, r);
        FASTSYNTH_UNROLL for (int i = 0; i < n; ++i) rows[i][j] = r[i];
    }
    FASTSYNTH_UNROLL for (int i = 0; i < n; ++i) {
        Floats r[n];
        W::input(rows[i], r);
        FASTSYNTH_UNROLL for (int j = 0; j < n; ++j) store_value(i * n + j, r[j]);
    }
}

/// Both dimensions of the output transform: load(point) gives the sums, `out` takes Aᵀ s A.
template <class W, class Load>
FASTSYNTH_INLINE void transform_output_tile(Load load_value, Floats (&out)[W::m][W::m]) {
    constexpr int n = W::n, m = W::m;
    Floats rows[m][n];
    FASTSYNTH_UNROLL for (int j = 0; j < n; ++j) {
        Floats s[n], y[m];
        FASTSYNTH_UNROLL for (int i = 0; i < n; ++i) s[i] = load_value(i * n + j);
        W::output(s, y);
        FASTSYNTH_UNROLL for (int i = 0; i < m; ++i) rows[i][j] = y[i];
    }
    FASTSYNTH_UNROLL for (int i = 0; i < m; ++i) W::output(rows[i], out[i]);
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
