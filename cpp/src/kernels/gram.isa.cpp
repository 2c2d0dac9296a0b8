// GramKernels: see objective/gram.hpp.
//
// Both products run through one pattern of outer products: a tile of `rows` broadcast values times
// `vectors` vector registers of channels, all sums in registers. 8 x 3 for AVX-512 (24 of 32
// registers hold sums, 3 the vectors), 4 x 3 for AVX2 (12 + 3 of 16), 4 x 2 for 128-bit registers,
// where a product needs a register of its own.
#include "fastsynth/objective/gram.hpp"

#include "kernels/simd.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

constexpr int rows = lanes == 16 ? 8 : 4;
constexpr int vectors = lanes == 4 ? 2 : 3;

typedef float Quad __attribute__((vector_size(16)));

inline Quad load_quad(const float* p) {
    Quad v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store_quad(float* p, Quad v) { std::memcpy(p, &v, sizeof v); }

/// Transposes 4 x 4 floats.
inline void transpose(Quad (&q)[4]) {
    const Quad a = shuffle<0, 4, 1, 5>(q[0], q[1]);
    const Quad b = shuffle<0, 4, 1, 5>(q[2], q[3]);
    const Quad c = shuffle<2, 6, 3, 7>(q[0], q[1]);
    const Quad d = shuffle<2, 6, 3, 7>(q[2], q[3]);
    q[0] = shuffle<0, 1, 4, 5>(a, b);
    q[1] = shuffle<2, 3, 6, 7>(a, b);
    q[2] = shuffle<0, 1, 4, 5>(c, d);
    q[3] = shuffle<2, 3, 6, 7>(c, d);
}

/// Where the value (channel, position 0 of the chunk) lies in a map, as an offset.
inline std::size_t offset(const FeatureMap& map, int channel, std::size_t begin) {
    const auto block = static_cast<std::size_t>(map.block);
    const auto c = static_cast<std::size_t>(channel);
    return (c / block * map.positions() + begin) * block + c % block;
}

/// The largest run of channels, counted from a multiple of itself, that lies in one piece in both
/// map and panel.
inline int common_run(int block) {
    int a = block, b = lanes;
    while (b) {
        const int r = a % b;
        a = b;
        b = r;
    }
    return a;
}

void pack(const FeatureMap& map, std::size_t begin, std::size_t positions, float* panels) {
    const int padded = (map.channels + lanes - 1) / lanes * lanes;
    const std::size_t stride = positions * lanes;
    auto panel = [&](int c) {
        return panels + static_cast<std::size_t>(c / lanes) * stride + c % lanes;
    };
    int c = 0;
    if (map.block == 1) {
        for (; c + 4 <= map.channels; c += 4) {
            const float* from[4];
            for (int i = 0; i < 4; ++i) from[i] = map.data + offset(map, c + i, begin);
            float* to = panel(c);
            std::size_t p = 0;
            for (; p + 4 <= positions; p += 4) {
                Quad q[4] = {load_quad(from[0] + p), load_quad(from[1] + p), load_quad(from[2] + p),
                             load_quad(from[3] + p)};
                transpose(q);
                for (int i = 0; i < 4; ++i) store_quad(to + (p + i) * lanes, q[i]);
            }
            for (; p < positions; ++p)
                for (int i = 0; i < 4; ++i) to[p * lanes + i] = from[i][p];
        }
    }
    const int run = common_run(map.block);
    for (; c < map.channels; c += run) {
        const float* from = map.data + offset(map, c, begin);
        float* to = panel(c);
        for (std::size_t p = 0; p < positions; ++p)
            for (int i = 0; i < run; ++i) to[p * lanes + i] = from[p * map.block + i];
    }
    for (; c < padded; ++c) {
        float* to = panel(c);
        for (std::size_t p = 0; p < positions; ++p) to[p * lanes] = 0.0f;
    }
}

template <bool add>
void unpack_as(const float* panels, std::size_t begin, std::size_t positions,
               const FeatureMap& map) {
    const std::size_t stride = positions * lanes;
    auto panel = [&](int c) {
        return panels + static_cast<std::size_t>(c / lanes) * stride + c % lanes;
    };
    int c = 0;
    if (map.block == 1) {
        for (; c + 4 <= map.channels; c += 4) {
            float* to[4];
            for (int i = 0; i < 4; ++i) to[i] = map.data + offset(map, c + i, begin);
            const float* from = panel(c);
            std::size_t p = 0;
            for (; p + 4 <= positions; p += 4) {
                Quad q[4];
                for (int i = 0; i < 4; ++i) q[i] = load_quad(from + (p + i) * lanes);
                transpose(q);
                for (int i = 0; i < 4; ++i)
                    store_quad(to[i] + p, add ? load_quad(to[i] + p) + q[i] : q[i]);
            }
            for (; p < positions; ++p)
                for (int i = 0; i < 4; ++i)
                    to[i][p] = add ? to[i][p] + from[p * lanes + i] : from[p * lanes + i];
        }
    }
    const int run = common_run(map.block);
    for (; c < map.channels; c += run) {
        float* to = map.data + offset(map, c, begin);
        const float* from = panel(c);
        for (std::size_t p = 0; p < positions; ++p)
            for (int i = 0; i < run; ++i) {
                float& value = to[p * map.block + i];
                value = add ? value + from[p * lanes + i] : from[p * lanes + i];
            }
    }
}

void unpack(const float* panels, std::size_t begin, std::size_t positions, const FeatureMap& map,
            bool add) {
    if (add)
        unpack_as<true>(panels, begin, positions, map);
    else
        unpack_as<false>(panels, begin, positions, map);
}

/// Channels of row panel `row` times those of `width` column panels from `column` on.
template <int width>
void multiply_tile(const Panels& f, int row, int column, float* sums, bool add) {
    const std::size_t line = static_cast<std::size_t>(f.count) * lanes;
    for (int half = 0; half < lanes; half += rows) {
        const float* a = f.data + static_cast<std::size_t>(row) * f.stride + half;
        const float* b = f.data + static_cast<std::size_t>(column) * f.stride;
        Floats sum[rows][width] = {};
        for (std::size_t p = 0; p < f.positions; ++p, a += lanes, b += lanes) {
            Floats vector[width];
#pragma GCC unroll 8
            for (int v = 0; v < width; ++v)
                vector[v] = load(b + static_cast<std::size_t>(v) * f.stride);
#pragma GCC unroll 8
            for (int i = 0; i < rows; ++i) {
                const Floats value = broadcast(a[i]);
#pragma GCC unroll 8
                for (int v = 0; v < width; ++v) sum[i][v] += value * vector[v];
            }
        }
        float* out = sums + (static_cast<std::size_t>(row) * lanes + half) * line +
                     static_cast<std::size_t>(column) * lanes;
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i, out += line)
#pragma GCC unroll 8
            for (int v = 0; v < width; ++v)
                store(out + v * lanes, add ? load(out + v * lanes) + sum[i][v] : sum[i][v]);
    }
}

void multiply(const Panels& f, int first, int last, float* sums, bool add) {
    for (int row = first; row < last; ++row) {
        int column = row;
        while (column < f.count) {
            const int left = f.count - column;
            // Four panels are two pairs rather than three and a lonely one, which would wait for
            // its loads.
            if (vectors >= 3 && left >= 3 && left != 4) {
                multiply_tile<vectors>(f, row, column, sums, add);
                column += vectors;
            } else if (left >= 2) {
                multiply_tile<2>(f, row, column, sums, add);
                column += 2;
            } else {
                multiply_tile<1>(f, row, column, sums, add);
                column += 1;
            }
        }
    }
}

/// `width` panels of D F at `height` positions. matrix: [channels][width·lanes].
template <int height, int width>
void apply_tile(const Panels& f, std::size_t position, const float* matrix, float* out,
                std::size_t out_stride, bool add) {
    Floats sum[height][width] = {};
    for (int panel = 0; panel < f.count; ++panel) {
        const float* a = f.data + static_cast<std::size_t>(panel) * f.stride + position * lanes;
        for (int c = 0; c < lanes; ++c, matrix += width * lanes) {
            Floats vector[width];
#pragma GCC unroll 8
            for (int v = 0; v < width; ++v) vector[v] = load(matrix + v * lanes);
#pragma GCC unroll 8
            for (int i = 0; i < height; ++i) {
                const Floats value = broadcast(a[i * lanes + c]);
#pragma GCC unroll 8
                for (int v = 0; v < width; ++v) sum[i][v] += value * vector[v];
            }
        }
    }
    out += position * lanes;
#pragma GCC unroll 8
    for (int i = 0; i < height; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < width; ++v) {
            float* to = out + static_cast<std::size_t>(v) * out_stride + i * lanes;
            store(to, add ? load(to) + sum[i][v] : sum[i][v]);
        }
}

template <int width>
void apply_group(const Panels& f, const float* matrix, float* out, std::size_t out_stride,
                 bool add) {
    std::size_t p = 0;
    for (; p + rows <= f.positions; p += rows)
        apply_tile<rows, width>(f, p, matrix, out, out_stride, add);
    for (; p < f.positions; ++p) apply_tile<1, width>(f, p, matrix, out, out_stride, add);
}

void apply(const Panels& f, const float* matrix, float* out, std::size_t out_stride, bool add) {
    const std::size_t line = static_cast<std::size_t>(f.count) * lanes;
    for (int panel = 0; panel < f.count; panel += vectors) {
        const int width = f.count - panel < vectors ? f.count - panel : vectors;
        if (width == vectors)
            apply_group<vectors>(f, matrix, out, out_stride, add);
        else if (width == 2)
            apply_group<2>(f, matrix, out, out_stride, add);
        else
            apply_group<1>(f, matrix, out, out_stride, add);
        matrix += line * static_cast<std::size_t>(width) * lanes;
        out += static_cast<std::size_t>(width) * out_stride;
    }
}

}  // namespace

extern const GramKernels gram_table;
const GramKernels gram_table{lanes, vectors, pack, unpack, multiply, apply};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
