// D F and F Fᵀ with fewer multiplications, for processors with separate pipes for additions:
// winograd.pairs.cpp says how two terms cost one multiplication and two additions.
//
// In D F, x is a position of F and y a column of D; pairs are a channel c of an even panel and the
// same lane of the next one. In F Fᵀ, x and y are channels; pairs are neighbouring positions.
//
// Two thirds of the terms are formed so, which keeps additions and multiply-adds equally busy: two
// of three panels of a column group, or where a group has fewer, some of the steps (`is_paired`).
// D comes scaled by a power of two to the size of F. Some steps' pairs are taken with the other
// sign,
//     x₁ y₁ + x₂ y₂ = -(y₂ - x₁)(y₁ - x₂) + x₁ x₂ + y₁ y₂,
// so that x₁ x₂, positive in features after a ReLU, does not add up.
//
// Rounding errors follow |x|² + |y|². Of a Gram matrix that is about as much as plain products have
// (as a whole; entries of channels much weaker than others are less exact).
#include "fastsynth/objective/gram.hpp"

#include "kernels/pairs.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

constexpr int rows = 8;
constexpr int vectors = 3;

/// Steps (lanes, or pairs of positions) whose pairs are taken with the other sign: the Thue-Morse
/// sequence, no period to meet.
constexpr bool is_negative(int step) { return 0x6996 >> step & 1; }

/// A third of the steps, of both signs.
constexpr bool is_some(int step) { return 0x2452 >> step & 1; }

/// Which steps of panel v are formed by pairs, in a column group of so many panels.
enum Steps { all, some, rest, none };
template <int width>
constexpr Steps steps_of(int v) {
    if (width == 3) return v < 2 ? all : none;
    if (width == 2) return v == 0 ? all : some;
    return rest;
}
constexpr bool is_paired(Steps steps, int step) {
    return steps == all || (steps == some && is_some(step)) || (steps == rest && !is_some(step));
}

/// Two terms of each sum: x₁ y₁ + x₂ y₂, without what has to be subtracted at the end.
/// x: x₁ of the first row, `next` to x₂, `between` to the next row; y1, y2: panels y_stride apart.
template <int step, int between, int height, int width>
FASTSYNTH_INLINE void add_two(const float* x, std::size_t next, const float* y1, const float* y2,
                              std::size_t y_stride, Floats (&sum)[height][width]) {
    Floats first[width], second[width];
    FASTSYNTH_UNROLL for (int v = 0; v < width; ++v) {
        first[v] = load(y1 + static_cast<std::size_t>(v) * y_stride);
        second[v] = load(y2 + static_cast<std::size_t>(v) * y_stride);
    }
    FASTSYNTH_UNROLL for (int i = 0; i < height; ++i) {
        const float &x1 = x[i * between], &x2 = x[next + i * between];
        FASTSYNTH_UNROLL for (int v = 0; v < width; ++v) {
            if (!is_paired(steps_of<width>(v), step)) {
                multiply_add_broadcast(sum[i][v], first[v], x1);
                multiply_add_broadcast(sum[i][v], second[v], x2);
            } else if (is_negative(step)) {
                sum[i][v] -= subtract_broadcast(second[v], x1) * subtract_broadcast(first[v], x2);
            } else {
                sum[i][v] += add_broadcast(second[v], x1) * add_broadcast(first[v], x2);
            }
        }
    }
}

// ---- D F ----

/// All lanes of two panels. x: the first panel, `next` to the second.
template <int height, int width, int... lane>
FASTSYNTH_INLINE void add_lanes(const float* x, std::size_t next, const float* matrix,
                                Floats (&sum)[height][width], std::integer_sequence<int, lane...>) {
    (add_two<lane, lanes>(x + lane, next, matrix + 2 * lane * width * lanes,
                          matrix + (2 * lane + 1) * width * lanes, lanes, sum),
     ...);
}

/// `width` panels of D F at `height` positions. matrix: as `finish_matrix` leaves it. x_x: as
/// `multiply_positions` does, for these positions.
template <int height, int width>
__attribute__((noinline)) void apply_tile(const Panels& f, std::size_t position,
                                          const float* matrix, float inverse, const float* x_x,
                                          float* out, std::size_t out_stride, bool add) {
    Floats sum[height][width] = {};
    out += position * lanes;
    FASTSYNTH_UNROLL for (int v = 0; v < width; ++v)
        FASTSYNTH_UNROLL for (int i = 0; i < height; ++i)
            __builtin_prefetch(out + static_cast<std::size_t>(v) * out_stride + i * lanes, 1);
    const float* x = f.data + position * lanes;
    int panel = 0;
    for (; panel + 1 < f.count; panel += 2, x += 2 * f.stride) {
        add_lanes(x, f.stride, matrix, sum, std::make_integer_sequence<int, lanes>());
        matrix += 2 * lanes * width * lanes;
    }
    const float* y_y = matrix + (panel < f.count ? lanes * width * lanes : 0);
    FASTSYNTH_UNROLL for (int v = 0; v < width; ++v) {
        if (steps_of<width>(v) == none) continue;
        const float* subtract = x_x + static_cast<std::size_t>(steps_of<width>(v)) * f.positions;
        FASTSYNTH_UNROLL for (int i = 0; i < height; ++i) sum[i][v] =
            (sum[i][v] - load(y_y + v * lanes)) - broadcast(subtract[position + i]);
    }
    if (panel < f.count)
        for (int c = 0; c < lanes; ++c, matrix += width * lanes)
            FASTSYNTH_UNROLL for (int i = 0; i < height; ++i)
                FASTSYNTH_UNROLL for (int v = 0; v < width; ++v)
                    multiply_add_broadcast(sum[i][v], load(matrix + v * lanes), x[i * lanes + c]);
    FASTSYNTH_UNROLL for (int i = 0; i < height; ++i)
        FASTSYNTH_UNROLL for (int v = 0; v < width; ++v) {
        float* to = out + static_cast<std::size_t>(v) * out_stride + i * lanes;
        store(to, add ? load(to) + inverse * sum[i][v] : inverse * sum[i][v]);
    }
}

template <int width>
void apply_group(const Panels& f, const float* matrix, float inverse, const float* x_x, float* out,
                 std::size_t out_stride, bool add) {
    std::size_t p = 0;
    for (; p + rows <= f.positions; p += rows)
        apply_tile<rows, width>(f, p, matrix, inverse, x_x, out, out_stride, add);
    for (; p < f.positions; ++p)
        apply_tile<1, width>(f, p, matrix, inverse, x_x, out, out_stride, add);
}

/// ± Σ x₁ x₂ over the pairs of each position: of all steps, of some, of the rest, one after
/// another.
void multiply_positions(const Panels& f, float* x_x) {
    Floats signs;
    Bits some_lanes = 0;
    for (int c = 0; c < lanes; ++c) {
        signs[c] = is_negative(c) ? -1.0f : 1.0f;
        some_lanes = static_cast<Bits>(some_lanes | is_some(c) << c);
    }
    for (std::size_t p = 0; p < f.positions; p += lanes) {
        const std::size_t left = f.positions - p;
        const int count = left < lanes ? static_cast<int>(left) : lanes;
        Floats products[lanes] = {}, part[lanes];
        for (int i = 0; i < count; ++i) {
            const float* x = f.data + (p + static_cast<std::size_t>(i)) * lanes;
            for (int panel = 0; panel + 1 < f.count; panel += 2, x += 2 * f.stride)
                products[i] += load(x) * load(x + f.stride);
            products[i] *= signs;
        }
        for (int i = 0; i < lanes; ++i) part[i] = select(some_lanes, products[i]);
        const Floats sum = sum_each(products), sum_of_some = sum_each(part);
        const Floats sums[] = {sum, sum_of_some, sum - sum_of_some};
        for (std::size_t steps = 0; steps < none; ++steps)
            std::memcpy(x_x + steps * f.positions + p, &sums[steps],
                        static_cast<std::size_t>(count) * sizeof(float));
    }
}

void apply(const Panels& f, const float* matrix, float inverse, float* x_x, float* out,
           std::size_t out_stride, bool add) {
    multiply_positions(f, x_x);
    const std::size_t line = static_cast<std::size_t>(f.count) * lanes;
    for (int panel = 0; panel < f.count; panel += vectors) {
        const int width = f.count - panel < vectors ? f.count - panel : vectors;
        if (width == vectors)
            apply_group<vectors>(f, matrix, inverse, x_x, out, out_stride, add);
        else if (width == 2)
            apply_group<2>(f, matrix, inverse, x_x, out, out_stride, add);
        else
            apply_group<1>(f, matrix, inverse, x_x, out, out_stride, add);
        matrix += (line + 1) * static_cast<std::size_t>(width) * lanes;
        out += static_cast<std::size_t>(width) * out_stride;
    }
}

void finish_matrix(float* matrix, int count, int width, float scale) {
    const std::size_t row = static_cast<std::size_t>(width) * lanes;
    const std::size_t size = static_cast<std::size_t>(count) * lanes * row;
    for (std::size_t i = 0; i < size; i += lanes) store(matrix + i, scale * load(matrix + i));
    for (int v = 0; v < width; ++v) {
        const Steps steps = width == 3   ? steps_of<3>(v)
                            : width == 2 ? steps_of<2>(v)
                                         : steps_of<1>(v);
        Floats y_y{};
        const float* y = matrix + v * lanes;
        for (int panel = 0; panel + 1 < count; panel += 2)
            for (int c = 0; c < lanes; ++c, y += 2 * row) {
                if (!is_paired(steps, c)) continue;
                if (is_negative(c)) {
                    y_y -= load(y + row) * load(y);
                } else {
                    y_y += load(y + row) * load(y);
                }
            }
        store(matrix + size + v * lanes, y_y);
    }
}

// ---- F Fᵀ ----

/// Positions after which the steps repeat.
constexpr int period = 16;

template <int width, int... pair>
FASTSYNTH_INLINE void add_period(const float* x, const float* y, std::size_t y_stride,
                                 Floats (&sum)[rows][width], std::integer_sequence<int, pair...>) {
    (add_two<pair, 1>(x + 2 * pair * lanes, lanes, y + 2 * pair * lanes, y + (2 * pair + 1) * lanes,
                      y_stride, sum),
     ...);
}

/// As multiply_tile in gram.isa.cpp. x_x: as `multiply_neighbours` leaves it.
template <int width>
__attribute__((noinline)) void multiply_tile(const Panels& f, int row, int column, float* sums,
                                             bool add, const float* x_x) {
    const std::size_t line = static_cast<std::size_t>(f.count) * lanes;
    for (int half = 0; half < lanes; half += rows) {
        const float* x = f.data + static_cast<std::size_t>(row) * f.stride + half;
        const float* y = f.data + static_cast<std::size_t>(column) * f.stride;
        Floats sum[rows][width] = {};
        std::size_t p = 0;
        for (; p + period <= f.positions; p += period, x += period * lanes, y += period * lanes)
            add_period(x, y, f.stride, sum, std::make_integer_sequence<int, period / 2>());
        for (; p + 2 <= f.positions; p += 2, x += 2 * lanes, y += 2 * lanes)
            add_two<0, 1>(x, lanes, y, y + lanes, f.stride, sum);
        FASTSYNTH_UNROLL for (int v = 0; v < width; ++v) {
            if (steps_of<width>(v) == none) continue;
            const float* subtract = x_x + static_cast<std::size_t>(steps_of<width>(v)) * line;
            FASTSYNTH_UNROLL for (int i = 0; i < rows; ++i) sum[i][v] =
                (sum[i][v] - broadcast(subtract[row * lanes + half + i])) -
                load(subtract + (column + v) * lanes);
        }
        if (p < f.positions)
            FASTSYNTH_UNROLL for (int i = 0; i < rows; ++i)
                FASTSYNTH_UNROLL for (int v = 0; v < width; ++v) multiply_add_broadcast(
                    sum[i][v], load(y + static_cast<std::size_t>(v) * f.stride), x[i]);
        float* out = sums + (static_cast<std::size_t>(row) * lanes + half) * line +
                     static_cast<std::size_t>(column) * lanes;
        FASTSYNTH_UNROLL for (int i = 0; i < rows; ++i, out += line)
            FASTSYNTH_UNROLL for (int v = 0; v < width; ++v)
                store(out + v * lanes, add ? load(out + v * lanes) + sum[i][v] : sum[i][v]);
    }
}

/// Σ x₁ x₂ of one pair of positions, added to all steps, and to some or the rest.
template <int step, int width>
FASTSYNTH_INLINE void add_neighbours(const float* x, std::size_t stride,
                                     Floats (&sum)[none][width]) {
    constexpr Steps other = is_some(step) ? some : rest;
    FASTSYNTH_UNROLL for (int v = 0; v < width; ++v) {
        const float* first = x + static_cast<std::size_t>(v) * stride;
        const Floats x1 = load(first), x2 = load(first + lanes);
        if (is_negative(step)) {
            sum[all][v] -= x2 * x1;
            sum[other][v] -= x2 * x1;
        } else {
            sum[all][v] += x2 * x1;
            sum[other][v] += x2 * x1;
        }
    }
}

template <int width, int... pair>
FASTSYNTH_INLINE void add_neighbours_period(const float* x, std::size_t stride,
                                            Floats (&sum)[none][width],
                                            std::integer_sequence<int, pair...>) {
    (add_neighbours<pair>(x + 2 * pair * lanes, stride, sum), ...);
}

/// ± Σ x₁ x₂ over the pairs of positions, of the channels of `width` panels, for all steps, some
/// and the rest: in the order of multiply_tile, so that channels of zeros get exact zeros.
template <int width>
void multiply_neighbours(const Panels& f, int panel, float* x_x) {
    const float* x = f.data + static_cast<std::size_t>(panel) * f.stride;
    Floats sum[none][width] = {};
    std::size_t p = 0;
    for (; p + period <= f.positions; p += period, x += period * lanes)
        add_neighbours_period(x, f.stride, sum, std::make_integer_sequence<int, period / 2>());
    for (; p + 2 <= f.positions; p += 2, x += 2 * lanes) add_neighbours<0>(x, f.stride, sum);
    for (int steps = 0; steps < none; ++steps)
        for (int v = 0; v < width; ++v)
            store(x_x + (steps * f.count + panel + v) * lanes, sum[steps][v]);
}

void multiply(const Panels& f, int first, int last, float* sums, bool add, float* x_x) {
    int panel = first;
    for (; panel + 4 <= f.count; panel += 4) multiply_neighbours<4>(f, panel, x_x);
    for (; panel < f.count; ++panel) multiply_neighbours<1>(f, panel, x_x);
    for (int row = first; row < last; ++row)
        for (int column = row; column < f.count;) {
            const int left = f.count - column;
            if (left >= 3 && left != 4) {
                multiply_tile<3>(f, row, column, sums, add, x_x);
                column += 3;
            } else if (left >= 2) {
                multiply_tile<2>(f, row, column, sums, add, x_x);
                column += 2;
            } else {
                multiply_tile<1>(f, row, column, sums, add, x_x);
                column += 1;
            }
        }
}

}  // namespace

extern const GramPairs gram_pairs;
const GramPairs gram_pairs{multiply, paired_channel, finish_matrix, apply, none};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
