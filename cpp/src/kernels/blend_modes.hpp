// The blend modes of the W3C's "Compositing and Blending Level 1", over planes of values in [0, 1].
// cb is the backdrop's colour, cs the source's. Only *.isa.cpp files include this.
#pragma once

#include <cstddef>

#include "fastsynth/compose/blend.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

template <class R>
inline R smaller(R a, R b) {
    return a < b ? a : b;
}
template <class R>
inline R larger(R a, R b) {
    return a > b ? a : b;
}
inline float root(float v) { return __builtin_sqrtf(v); }
inline double root(double v) { return __builtin_sqrt(v); }

inline bool is_separable(BlendMode mode) { return mode < BlendMode::hue; }

// ---- modes that take channels singly ----
// Both sides of each choice are computed and may not divide by zero: such loops become vectors.

template <class R>
inline R screen(R cb, R cs) {
    return cb + cs - cb * cs;
}

template <class R>
inline R hard_light(R cb, R cs) {
    const R twice = cs + cs;
    return cs <= R(0.5) ? cb * twice : screen(cb, twice - R(1));
}

template <class R>
inline R color_dodge(R cb, R cs) {
    const R room = R(1) - cs;
    const R dodged = smaller(R(1), cb / (room > R(0) ? room : R(1)));
    const R bright = room > R(0) ? dodged : R(1);
    return cb > R(0) ? bright : R(0);
}

template <class R>
inline R color_burn(R cb, R cs) {
    const R burned = R(1) - smaller(R(1), (R(1) - cb) / (cs > R(0) ? cs : R(1)));
    const R dark = cs > R(0) ? burned : R(0);
    return cb < R(1) ? dark : R(1);
}

template <class R>
inline R soft_light(R cb, R cs) {
    const R curve = ((R(16) * cb - R(12)) * cb + R(4)) * cb;
    const R lifted = cb <= R(0.25) ? curve : root(cb);
    const R amount = cs + cs - R(1);
    return cb + amount * (cs <= R(0.5) ? cb * (R(1) - cb) : lifted - cb);
}

template <class R, class Mode>
void each(const R* __restrict cb, const R* __restrict cs, R* __restrict out, std::size_t n,
          Mode mode) {
    for (std::size_t i = 0; i < n; ++i) out[i] = mode(cb[i], cs[i]);
}

/// out ← B(cb, cs) for a mode that is_separable.
template <class R>
void blend_plane(BlendMode mode, const R* cb, const R* cs, R* out, std::size_t n) {
    switch (mode) {
        case BlendMode::multiply:
            return each(cb, cs, out, n, [](R b, R s) { return b * s; });
        case BlendMode::screen:
            return each(cb, cs, out, n, [](R b, R s) { return screen(b, s); });
        case BlendMode::overlay:
            return each(cb, cs, out, n, [](R b, R s) { return hard_light(s, b); });
        case BlendMode::darken:
            return each(cb, cs, out, n, [](R b, R s) { return smaller(b, s); });
        case BlendMode::lighten:
            return each(cb, cs, out, n, [](R b, R s) { return larger(b, s); });
        case BlendMode::color_dodge:
            return each(cb, cs, out, n, [](R b, R s) { return color_dodge(b, s); });
        case BlendMode::color_burn:
            return each(cb, cs, out, n, [](R b, R s) { return color_burn(b, s); });
        case BlendMode::hard_light:
            return each(cb, cs, out, n, [](R b, R s) { return hard_light(b, s); });
        case BlendMode::soft_light:
            return each(cb, cs, out, n, [](R b, R s) { return soft_light(b, s); });
        case BlendMode::difference:
            return each(cb, cs, out, n, [](R b, R s) { return larger(b - s, s - b); });
        case BlendMode::exclusion:
            return each(cb, cs, out, n, [](R b, R s) { return b + s - R(2) * b * s; });
        case BlendMode::add:
            return each(cb, cs, out, n, [](R b, R s) { return smaller(R(1), b + s); });
        case BlendMode::subtract:
            return each(cb, cs, out, n, [](R b, R s) { return larger(R(0), s - b); });
        default:  // normal
            return each(cb, cs, out, n, [](R, R s) { return s; });
    }
}

// ---- modes that look at hue, saturation and luminosity of whole pixels ----

template <class R>
struct Color {
    R r, g, b;
};

template <class R>
inline R luminosity(Color<R> c) {
    return R(0.3) * c.r + R(0.59) * c.g + R(0.11) * c.b;
}
template <class R>
inline R least(Color<R> c) {
    return smaller(smaller(c.r, c.g), c.b);
}
template <class R>
inline R most(Color<R> c) {
    return larger(larger(c.r, c.g), c.b);
}

/// The colour c with luminosity `to`, drawn towards its grey where it would leave [0, 1].
template <class R>
inline Color<R> with_luminosity(Color<R> c, R to) {
    const R shift = to - luminosity(c);
    const Color<R> moved{c.r + shift, c.g + shift, c.b + shift};
    const R low = least(moved), high = most(moved);
    const R middle = luminosity(moved);
    const R up = low < R(0) ? middle / (middle - low) : R(1);
    const R down = high > R(1) ? (R(1) - middle) / (high - middle) : R(1);
    const R scale = up * down;
    return {middle + (moved.r - middle) * scale, middle + (moved.g - middle) * scale,
            middle + (moved.b - middle) * scale};
}

/// The colour c stretched so that its most exceeds its least by `to`, and its least is 0.
template <class R>
inline Color<R> with_saturation(Color<R> c, R to) {
    const R low = least(c), range = most(c) - low;
    const R scale = range > R(0) ? to / (range > R(0) ? range : R(1)) : R(0);
    return {(c.r - low) * scale, (c.g - low) * scale, (c.b - low) * scale};
}

template <class R, class Mode>
void each_pixel(const R* const cb[3], const R* const cs[3], R* __restrict r, R* __restrict g,
                R* __restrict b, std::size_t n, Mode mode) {
    const R *b0 = cb[0], *b1 = cb[1], *b2 = cb[2], *s0 = cs[0], *s1 = cs[1], *s2 = cs[2];
    for (std::size_t i = 0; i < n; ++i) {
        const Color<R> out = mode(Color<R>{b0[i], b1[i], b2[i]}, Color<R>{s0[i], s1[i], s2[i]});
        r[i] = out.r;
        g[i] = out.g;
        b[i] = out.b;
    }
}

/// (r, g, b) ← B(cb, cs) for the modes that are not separable.
template <class R>
void blend_pixels(BlendMode mode, const R* const cb[3], const R* const cs[3], R* r, R* g, R* b,
                  std::size_t n) {
    using C = Color<R>;
    switch (mode) {
        case BlendMode::hue:
            return each_pixel(cb, cs, r, g, b, n, [](C below, C above) {
                const C stretched = with_saturation(above, most(below) - least(below));
                return with_luminosity(stretched, luminosity(below));
            });
        case BlendMode::saturation:
            return each_pixel(cb, cs, r, g, b, n, [](C below, C above) {
                const C stretched = with_saturation(below, most(above) - least(above));
                return with_luminosity(stretched, luminosity(below));
            });
        case BlendMode::color:
            return each_pixel(cb, cs, r, g, b, n, [](C below, C above) {
                return with_luminosity(above, luminosity(below));
            });
        default:  // luminosity
            return each_pixel(cb, cs, r, g, b, n, [](C below, C above) {
                return with_luminosity(below, luminosity(above));
            });
    }
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
