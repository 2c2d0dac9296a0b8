// D F with fewer multiplications, for processors with separate pipes for additions:
// winograd.pairs.cpp says how two terms cost one multiplication and two additions. Here x is a
// position of F and y a column of D; pairs are a channel c of an even panel and the same lane of
// the next one.
//
// Of the panels of a column group all but the last are formed so: with three panels two thirds of
// the terms, which keeps additions and multiply-adds equally busy. D comes scaled by a power of two
// to the size of F. Some lanes' pairs are taken with the other sign,
//     x₁ y₁ + x₂ y₂ = -(y₂ - x₁)(y₁ - x₂) + x₁ x₂ + y₁ y₂,
// so that x₁ x₂, positive in features after a ReLU, does not add up.
#include "fastsynth/objective/gram.hpp"

#include "kernels/pairs.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

constexpr int rows = 8;
constexpr int vectors = 3;

/// Lanes whose pairs are taken with the other sign (the Thue-Morse sequence: no period to meet).
constexpr bool is_negative(int c) { return 0x6996 >> c & 1; }

/// Whether panel v of a column group of so many is formed by pairs.
template <int width>
constexpr bool is_paired(int v) {
    return v + 1 < width;
}

/// ±(y₂ ± x₁)(y₁ ± x₂) added to `sum`.
template <bool negative>
FASTSYNTH_INLINE void add_pair(Floats& sum, Floats y1, Floats y2, const float& x1,
                               const float& x2) {
    if constexpr (negative) {
        sum -= subtract_broadcast(y2, x1) * subtract_broadcast(y1, x2);
    } else {
        sum += add_broadcast(y2, x1) * add_broadcast(y1, x2);
    }
}

/// Lane c of two panels for `height` positions. a: the first panel; `next`: to the second.
template <int height, int width, bool negative>
FASTSYNTH_INLINE void multiply_lane(const float* a, std::size_t next, const float* matrix,
                                    Floats (&sum)[height][width]) {
    Floats y1[width], y2[width];
    FASTSYNTH_UNROLL for (int v = 0; v < width; ++v) {
        y1[v] = load(matrix + v * lanes);
        y2[v] = load(matrix + (width + v) * lanes);
    }
    FASTSYNTH_UNROLL for (int i = 0; i < height; ++i) {
        const float &x1 = a[i * lanes], &x2 = a[next + i * lanes];
        FASTSYNTH_UNROLL for (int v = 0; v < width; ++v) {
            if (is_paired<width>(v)) {
                add_pair<negative>(sum[i][v], y1[v], y2[v], x1, x2);
            } else {
                multiply_add_broadcast(sum[i][v], y1[v], x1);
                multiply_add_broadcast(sum[i][v], y2[v], x2);
            }
        }
    }
}

template <int height, int width, int... lane>
FASTSYNTH_INLINE void multiply_lanes(const float* a, std::size_t next, const float* matrix,
                                     Floats (&sum)[height][width],
                                     std::integer_sequence<int, lane...>) {
    (multiply_lane<height, width, is_negative(lane)>(a + lane, next,
                                                     matrix + 2 * lane * width * lanes, sum),
     ...);
}

/// `width` panels of D F at `height` positions. matrix: as `finish_matrix` leaves it.
template <int height, int width>
__attribute__((noinline)) void apply_tile(const Panels& f, std::size_t position,
                                          const float* matrix, float inverse, const float* x_x,
                                          float* out, std::size_t out_stride, bool add) {
    Floats sum[height][width] = {};
    const float* a = f.data + position * lanes;
    int panel = 0;
    for (; panel + 1 < f.count; panel += 2, a += 2 * f.stride) {
        multiply_lanes(a, f.stride, matrix, sum, std::make_integer_sequence<int, lanes>());
        matrix += 2 * lanes * width * lanes;
    }
    const float* y_y = matrix + (panel < f.count ? lanes * width * lanes : 0);
    FASTSYNTH_UNROLL for (int v = 0; v < width; ++v) {
        if (!is_paired<width>(v)) continue;
        FASTSYNTH_UNROLL for (int i = 0; i < height; ++i) sum[i][v] =
            (sum[i][v] - load(y_y + v * lanes)) - broadcast(x_x[position + i]);
    }
    if (panel < f.count)
        for (int c = 0; c < lanes; ++c, matrix += width * lanes)
            FASTSYNTH_UNROLL for (int i = 0; i < height; ++i)
                FASTSYNTH_UNROLL for (int v = 0; v < width; ++v)
                    multiply_add_broadcast(sum[i][v], load(matrix + v * lanes), a[i * lanes + c]);
    out += position * lanes;
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

/// ± Σ x₁ x₂ over the pairs of each position.
void multiply_positions(const Panels& f, float* x_x) {
    Floats signs;
    for (int c = 0; c < lanes; ++c) signs[c] = is_negative(c) ? -1.0f : 1.0f;
    for (std::size_t p = 0; p < f.positions; ++p) {
        Floats sum{};
        const float* x = f.data + p * lanes;
        for (int panel = 0; panel + 1 < f.count; panel += 2, x += 2 * f.stride)
            sum += load(x) * load(x + f.stride);
        x_x[p] = sum_lanes(sum * signs);
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
    const std::size_t all = static_cast<std::size_t>(count) * lanes * row;
    for (std::size_t i = 0; i < all; i += lanes) store(matrix + i, scale * load(matrix + i));
    for (int v = 0; v < width; ++v) {
        Floats y_y{};
        const float* y = matrix + v * lanes;
        for (int panel = 0; panel + 1 < count; panel += 2)
            for (int c = 0; c < lanes; ++c, y += 2 * row) {
                if (is_negative(c)) {
                    y_y -= load(y + row) * load(y);
                } else {
                    y_y += load(y + row) * load(y);
                }
            }
        store(matrix + all + v * lanes, y_y);
    }
}

}  // namespace

extern const GramPairs gram_pairs;
const GramPairs gram_pairs{paired_channel, finish_matrix, apply};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
