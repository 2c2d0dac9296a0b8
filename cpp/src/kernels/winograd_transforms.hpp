// The one-dimensional transforms Bᵀ d and Aᵀ M of winograd_points.hpp, written out for vectors.
//
// Points come in pairs ±p, so rows i and i+1 share their even and odd parts: Bᵀ row(±p) = even(p) ±
// p · odd(p), where the parts are products of (x² - q²) over the other pairs q. The first row and
// the last, of 0 and infinity, make a pair, too. Likewise Aᵀ needs only the sums and differences of
// each pair.
#pragma once

#include <utility>

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

    /// Two of the six values of Bᵀ d, times `scale` (a number or a vector): of the points 0 and
    /// infinity (pair 0), ±p (1) or ±q (2).
    template <int pair, class Scale, class Values>
    static FASTSYNTH_INLINE void input(Scale scale, Values d, Floats& first, Floats& last) {
        if constexpr (pair == 0) {
            first = (scale * d(4) - (scale * sum) * d(2)) + (scale * product) * d(0);
            last = (scale * d(5) - (scale * sum) * d(3)) + (scale * product) * d(1);
        } else {
            constexpr float point = pair == 1 ? p : q, other = pair == 1 ? qq : pp;
            const Floats even = scale * d(4) - (scale * other) * d(2);
            const Floats odd = apart((scale * point) * (d(3) - other * d(1)));
            first = even + odd;
            last = even - odd;
        }
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

    /// As for m = 4; pairs 1 to 3 are ±a, ±b, ±c.
    template <int pair, class Scale, class Values>
    static FASTSYNTH_INLINE void input(Scale scale, Values d, Floats& first, Floats& last) {
        if constexpr (pair == 0) {
            first =
                (scale * d(6) - (scale * s1) * d(4)) + ((scale * s2) * d(2) - (scale * s3) * d(0));
            last =
                (scale * d(7) - (scale * s1) * d(5)) + ((scale * s2) * d(3) - (scale * s3) * d(1));
        } else {
            // The even and odd part of (x² - qq)(x² - rr) x.
            constexpr float p = pair == 1 ? a : pair == 2 ? b : c;
            constexpr float qq = pair == 1 ? bb : aa, rr = pair == 3 ? bb : cc;
            const Floats even =
                (scale * d(6) - (scale * (qq + rr)) * d(4)) + (scale * (qq * rr)) * d(2);
            const Floats odd = apart((scale * p) * ((d(5) - (qq + rr) * d(3)) + (qq * rr) * d(1)));
            first = even + odd;
            last = even - odd;
        }
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

/// Calls work(std::integral_constant<int, i>()) for each i of the sequence.
template <class Work, int... i>
FASTSYNTH_INLINE void each_constant(Work work, std::integer_sequence<int, i...>) {
    (work(std::integral_constant<int, i>()), ...);
}

/// Both dimensions of the input transform: load(row, column) gives the tile's values; into(row)
/// gives what takes (column, value) of scale · Bᵀ d B. Two rows at a time, which fit the registers;
/// values are loaded anew for each.
template <class W, class Scale, class Load, class Into>
FASTSYNTH_INLINE void transform_input_tile(Scale scale, Load load_value, Into into) {
    constexpr int n = W::n;
    constexpr auto pairs = std::make_integer_sequence<int, n / 2>();
    const auto place = [](int pair, bool is_last) {
        return is_last ? (pair == 0 ? n - 1 : 2 * pair) : (pair == 0 ? 0 : 2 * pair - 1);
    };
    const auto two_rows = [&](auto row_pair) {
        Floats rows[2][n];
        FASTSYNTH_UNROLL for (int j = 0; j < n; ++j) W::template input<row_pair>(
            scale, [&](int i) { return load_value(i, j); }, rows[0][j], rows[1][j]);
        FASTSYNTH_UNROLL for (int half = 0; half < 2; ++half) {
            const auto store_value = into(place(row_pair, half == 1));
            const auto two_columns = [&](auto pair) {
                Floats first, last;
                W::template input<pair>(1.0f, [&](int j) { return rows[half][j]; }, first, last);
                store_value(place(pair, false), first);
                store_value(place(pair, true), last);
            };
            each_constant(two_columns, pairs);
        }
    };
    each_constant(two_rows, pairs);
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
