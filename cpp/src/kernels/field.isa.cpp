// FieldKernels: see patterns/field_kernels.hpp.
#include <algorithm>

#include "kernels/wide_math.hpp"
#include "patterns/field_kernels.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

using wide::fill;
using wide::Longs;
using wide::select;
using wide::truth;

// ---- escape-time fractals ----

constexpr int group = 4;  // vectors that are iterated together: they hide each other's latency
constexpr double bailout = 65536.0;  // |z|² of 2^16: far enough for the smooth count to be smooth

/// Points of the main cardioid and of the disc of period 2 never escape.
Longs surely_inside(Doubles x, Doubles y) {
    const Doubles q = (x - 0.25) * (x - 0.25) + y * y;
    const Longs cardioid = q * (q + (x - 0.25)) <= 0.25 * y * y;
    const Longs disc = (x + 1.0) * (x + 1.0) + y * y <= fill(0.0625);
    return cardioid | disc;
}

template <bool slope>
void escape_group(const EscapeRule& rule, const double* px, const double* py, double* iterations,
                  double* sx, double* sy) {
    Doubles zx[group], zy[group], cx[group], cy[group], count[group], old_x[group], old_y[group];
    Doubles dx[group], dy[group];
    Longs inside[group], active[group];
    for (int g = 0; g < group; ++g) {
        const Doubles x = wide::load(px + g * wide_lanes), y = wide::load(py + g * wide_lanes);
        zx[g] = x;
        zy[g] = y;
        cx[g] = rule.julia ? fill(rule.cx) : x;
        cy[g] = rule.julia ? fill(rule.cy) : y;
        count[g] = fill(0);
        old_x[g] = old_y[g] = fill(1e300);
        dx[g] = fill(1);
        dy[g] = fill(0);
        inside[g] = rule.julia ? Longs{} : surely_inside(x, y);
        active[g] = ~inside[g];
    }
    int next_mark = 16;
    for (int done = 0; done < rule.max_iterations;) {
        const int steps = std::min(8, rule.max_iterations - done);
        for (int i = 0; i < steps; ++i) {
            for (int g = 0; g < group; ++g) {
                const Doubles x2 = zx[g] * zx[g], y2 = zy[g] * zy[g];
                active[g] &= x2 + y2 < fill(bailout);
                if (slope) {
                    // z' ← 2 z z' + 1 (of the Mandelbrot set; a Julia set has no + 1)
                    const Doubles nx = 2.0 * (zx[g] * dx[g] - zy[g] * dy[g]);
                    const Doubles ny = 2.0 * (zx[g] * dy[g] + zy[g] * dx[g]);
                    dx[g] = select(active[g], rule.julia ? nx : nx + 1.0, dx[g]);
                    dy[g] = select(active[g], ny, dy[g]);
                }
                const Doubles xy = zx[g] * zy[g];
                zy[g] = select(active[g], xy + xy + cy[g], zy[g]);
                zx[g] = select(active[g], x2 - y2 + cx[g], zx[g]);
                count[g] += truth(active[g]);
            }
        }
        done += steps;
        Longs left{};
        for (int g = 0; g < group; ++g) {
            // A point that comes back to where it was goes round for ever (Brent).
            inside[g] |= active[g] & (zx[g] == old_x[g]) & (zy[g] == old_y[g]);
            active[g] &= ~inside[g];
            left |= active[g];
        }
        if (!wide::any(left)) break;
        if (done >= next_mark) {
            next_mark *= 2;
            for (int g = 0; g < group; ++g) {
                old_x[g] = zx[g];
                old_y[g] = zy[g];
            }
        }
    }
    for (int g = 0; g < group; ++g) {
        const Doubles square = zx[g] * zx[g] + zy[g] * zy[g];
        const Longs out = ~inside[g] & (square >= fill(bailout));
        // n + 1 - log2(ln|z| / ln R): continuous where a point needs one iteration more.
        const Doubles safe = select(out, square, fill(bailout));
        const Doubles potential = wide::log(safe) * (1.0 / 11.090354888959125);
        const Doubles smooth = count[g] - wide::log(potential) * 1.4426950408889634;
        wide::store(iterations + g * wide_lanes, select(out, smooth, fill(-1)));
        if (slope) {
            // u = z / z', scaled before it is squared so that it cannot overflow.
            const Doubles largest =
                select(wide::abs(dx[g]) > wide::abs(dy[g]), wide::abs(dx[g]), wide::abs(dy[g]));
            const Doubles by = select(largest > fill(0), 1.0 / largest, fill(0));
            const Doubles ex = dx[g] * by, ey = dy[g] * by;
            const Doubles ux = zx[g] * ex + zy[g] * ey, uy = zy[g] * ex - zx[g] * ey;
            const Doubles length = wide::sqrt(ux * ux + uy * uy);
            const Longs usable = out & (length > fill(0)) & (length < fill(1e150));
            wide::store(sx + g * wide_lanes, select(usable, ux / length, fill(0)));
            wide::store(sy + g * wide_lanes, select(usable, uy / length, fill(0)));
        }
    }
}

void escape(const EscapeRule& rule, const double* x, const double* y, std::size_t n,
            double* iterations, double* sx, double* sy) {
    constexpr std::size_t block = group * wide_lanes;
    const auto work = [&](const double* px, const double* py, double* out, double* ox, double* oy) {
        if (rule.slope)
            escape_group<true>(rule, px, py, out, ox, oy);
        else
            escape_group<false>(rule, px, py, out, ox, oy);
    };
    std::size_t i = 0;
    for (; i + block <= n; i += block)
        work(x + i, y + i, iterations + i, rule.slope ? sx + i : nullptr,
             rule.slope ? sy + i : nullptr);
    if (i == n) return;
    double px[block], py[block], out[block], ox[block], oy[block];
    for (std::size_t k = 0; k < block; ++k) {
        px[k] = x[std::min(i + k, n - 1)];
        py[k] = y[std::min(i + k, n - 1)];
    }
    work(px, py, out, ox, oy);
    std::copy(out, out + (n - i), iterations + i);
    if (rule.slope) {
        std::copy(ox, ox + (n - i), sx + i);
        std::copy(oy, oy + (n - i), sy + i);
    }
}

// ---- formulas ----

/// A number in [-1, 1) from 16 bits of a hash.
Doubles component(Longs hash) { return wide::to_double(hash & 0xffff) * (1.0 / 32768) - 1.0; }

/// Gradient noise (Perlin 1985): a random vector at each whole point, its dot products with the
/// ways from there to (x, y) blended by 6s⁵ - 15s⁴ + 10s³.
Doubles noise(Doubles x, Doubles y, std::uint64_t seed) {
    const Doubles fx = wide::floor(x), fy = wide::floor(y);
    const Doubles ux = x - fx, uy = y - fy;
    const Longs ix = wide::to_long(fx), iy = wide::to_long(fy);
    const auto corner = [&](std::int64_t cx, std::int64_t cy) {
        typedef std::uint64_t Bits __attribute__((vector_size(sizeof(Longs))));
        Bits h = (Bits)(ix + cx) * 0x9e3779b97f4a7c15u + (Bits)(iy + cy) * 0xc2b2ae3d27d4eb4fu +
                 seed * 0x165667b19e3779f9u;
        h ^= h >> 32;
        h *= 0xd6e8feb86659fd93u;
        h ^= h >> 32;
        h *= 0xd6e8feb86659fd93u;
        h ^= h >> 32;
        return component((Longs)h) * (ux - static_cast<double>(cx)) +
               component((Longs)(h >> 16)) * (uy - static_cast<double>(cy));
    };
    const auto ease = [](Doubles s) { return s * s * s * (s * (s * 6.0 - 15.0) + 10.0); };
    const Doubles sx = ease(ux), sy = ease(uy);
    const Doubles a = corner(0, 0), b = corner(1, 0), c = corner(0, 1), d = corner(1, 1);
    const Doubles top = a + (b - a) * sx, bottom = c + (d - c) * sx;
    const Doubles value = 1.5 * (top + (bottom - top) * sy);
    const Doubles cut = select(value > fill(1), fill(1), select(value < fill(-1), fill(-1), value));
    // Beyond 2^50 there is no place between whole points.
    const Longs usable = (wide::abs(x) < fill(1e15)) & (wide::abs(y) < fill(1e15));
    return select(usable, cut, fill(0));
}

/// Five octaves of noise, each half as strong and half as wide as the one before.
Doubles fractal_noise(Doubles x, Doubles y, std::uint64_t seed) {
    Doubles sum = fill(0);
    double weight = 0.5, scale = 1;
    for (std::uint64_t octave = 0; octave < 5; ++octave) {
        sum += weight * noise(x * scale, y * scale, seed + octave * 101);
        weight *= 0.5;
        scale *= 2;
    }
    return sum * (32.0 / 31);
}

Doubles unary(Operation operation, Doubles a) {
    Doubles sine, cosine;
    switch (operation) {
        case Operation::negate:
            return -a;
        case Operation::not_:
            return truth(a == fill(0));
        case Operation::abs:
            return wide::abs(a);
        case Operation::sign:
            return truth(a > fill(0)) - truth(a < fill(0));
        case Operation::floor:
            return wide::floor(a);
        case Operation::ceil:
            return -wide::floor(-a);
        case Operation::round:
            return wide::round(a);
        case Operation::fract:
            return a - wide::floor(a);
        case Operation::sqrt:
            return wide::sqrt(a);
        case Operation::exp:
            return wide::exp(a);
        case Operation::log:
            return wide::log(a);
        case Operation::log2:
            return wide::log(a) * 1.4426950408889634;
        case Operation::sin:
            wide::sincos(a, sine, cosine);
            return sine;
        case Operation::cos:
            wide::sincos(a, sine, cosine);
            return cosine;
        case Operation::tan:
            wide::sincos(a, sine, cosine);
            return sine / cosine;
        case Operation::asin:
            return wide::atan2(a, wide::sqrt((1.0 - a) * (1.0 + a)));
        case Operation::acos:
            return wide::atan2(wide::sqrt((1.0 - a) * (1.0 + a)), a);
        case Operation::atan:
            return wide::atan(a);
        case Operation::sinh: {
            // Near 0 the difference of exponentials would cancel.
            const Doubles q = a * a;
            const Doubles series =
                a * (1.0 + q * (1.0 / 6 + q * (1.0 / 120 + q * (1.0 / 5040 + q / 362880.0))));
            const Doubles e = wide::exp(a), value = 0.5 * e - 0.5 / e;
            return select(wide::abs(a) < fill(0.1), series, value);
        }
        case Operation::cosh: {
            const Doubles e = wide::exp(a);
            return 0.5 * e + 0.5 / e;
        }
        case Operation::tanh: {
            const Doubles q = a * a;
            const Doubles series =
                a * (1.0 - q * (1.0 / 3 -
                                q * (2.0 / 15 - q * (17.0 / 315 -
                                                     q * (62.0 / 2835 - q * (1382.0 / 155925))))));
            const Doubles e = wide::exp(-2.0 * wide::abs(a)), size = (1.0 - e) / (1.0 + e);
            return select(q < fill(0.0025), series, select(a < fill(0), -size, size));
        }
        default:
            return a;
    }
}

Doubles binary(Operation operation, Doubles a, Doubles b, std::uint64_t seed) {
    switch (operation) {
        case Operation::add:
            return a + b;
        case Operation::subtract:
            return a - b;
        case Operation::multiply:
            return a * b;
        case Operation::divide:
            return a / b;
        case Operation::less:
            return truth(a < b);
        case Operation::less_equal:
            return truth(a <= b);
        case Operation::equal:
            return truth(a == b);
        case Operation::not_equal:
            return truth(a != b);
        case Operation::and_:
            return truth((a != fill(0)) & (b != fill(0)));
        case Operation::or_:
            return truth((a != fill(0)) | (b != fill(0)));
        case Operation::min:
            return select((b < a) | (b != b), b, a);
        case Operation::max:
            return select((b > a) | (b != b), b, a);
        case Operation::mod:
            return a - b * wide::floor(a / b);
        case Operation::pow:
            return wide::pow(a, b);
        case Operation::atan2:
            return wide::atan2(a, b);
        case Operation::hypot:
            return wide::sqrt(a * a + b * b);
        case Operation::step:
            return truth(b >= a);
        case Operation::noise:
            return noise(a, b, seed);
        case Operation::fbm:
            return fractal_noise(a, b, seed);
        default:
            return a;
    }
}

Doubles ternary(Operation operation, Doubles a, Doubles b, Doubles c) {
    switch (operation) {
        case Operation::where:
            return select(a != fill(0), b, c);
        case Operation::clamp: {
            const Doubles low = select(a < b, b, a);
            return select(low > c, c, low);
        }
        case Operation::mix:
            return a + (b - a) * c;
        case Operation::smoothstep: {
            Doubles s = (c - a) / (b - a);
            s = select(s < fill(0), fill(0), select(s > fill(1), fill(1), s));
            return s * s * (3.0 - 2.0 * s);
        }
        default:
            return a;
    }
}

/// slot[0..] ← op(slot[0..], …) over `length` values; the operation is known outside of the loop
/// only to the switch, whose cost is shared by a vector.
template <class Body>
void each(std::size_t length, Body body) {
    for (std::size_t i = 0; i < length; i += wide_lanes) body(i);
}

void run(const Instruction* program, std::size_t length, const double* constants, const double* x,
         const double* y, double t, std::uint64_t seed, std::size_t n, double* stack) {
    // Whole vectors; formula_block is a multiple of every vector's length.
    const std::size_t points = (n + wide_lanes - 1) / wide_lanes * wide_lanes;
    std::size_t depth = 0;
    for (std::size_t k = 0; k < length; ++k) {
        const Instruction& instruction = program[k];
        const Operation operation = instruction.operation;
        double* top = stack + depth * formula_block;  // where a new value goes
        double* a = top - formula_block;
        switch (operation) {
            case Operation::constant:
                std::fill(top, top + points, constants[instruction.argument]);
                ++depth;
                break;
            case Operation::t:
                std::fill(top, top + points, t);
                ++depth;
                break;
            case Operation::x:
                std::copy(x, x + points, top);
                ++depth;
                break;
            case Operation::y:
                std::copy(y, y + points, top);
                ++depth;
                break;
            case Operation::r:
                each(points, [&](std::size_t i) {
                    const Doubles vx = wide::load(x + i), vy = wide::load(y + i);
                    wide::store(top + i, wide::sqrt(vx * vx + vy * vy));
                });
                ++depth;
                break;
            case Operation::theta:
                each(points, [&](std::size_t i) {
                    wide::store(top + i, wide::atan2(wide::load(y + i), wide::load(x + i)));
                });
                ++depth;
                break;
            case Operation::integer_power:
                each(points, [&](std::size_t i) {
                    wide::store(a + i,
                                wide::integer_power(wide::load(a + i), instruction.argument));
                });
                break;
            case Operation::where:
            case Operation::clamp:
            case Operation::mix:
            case Operation::smoothstep: {
                double* first = a - 2 * formula_block;
                each(points, [&](std::size_t i) {
                    wide::store(first + i,
                                ternary(operation, wide::load(first + i),
                                        wide::load(first + formula_block + i), wide::load(a + i)));
                });
                depth -= 2;
                break;
            }
            case Operation::negate:
            case Operation::not_:
            case Operation::abs:
            case Operation::sign:
            case Operation::floor:
            case Operation::ceil:
            case Operation::round:
            case Operation::fract:
            case Operation::sqrt:
            case Operation::exp:
            case Operation::log:
            case Operation::log2:
            case Operation::sin:
            case Operation::cos:
            case Operation::tan:
            case Operation::asin:
            case Operation::acos:
            case Operation::atan:
            case Operation::sinh:
            case Operation::cosh:
            case Operation::tanh:
                each(points, [&](std::size_t i) {
                    wide::store(a + i, unary(operation, wide::load(a + i)));
                });
                break;
            default: {
                double* first = a - formula_block;
                each(points, [&](std::size_t i) {
                    wide::store(first + i,
                                binary(operation, wide::load(first + i), wide::load(a + i), seed));
                });
                depth -= 1;
                break;
            }
        }
    }
}

}  // namespace

extern const FieldKernels field_table;
const FieldKernels field_table{escape, run};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
