// ConvolveKernels: see compose/convolve.hpp. Compiled without contraction of a * b + c into fused
// operations, so that all sets round alike; on processors that multiply and add in different
// units it costs little.
#include "fastsynth/compose/convolve.hpp"

#include "kernels/simd.hpp"

// Sums stay in registers only where all that adds to them is inlined.
#define FASTSYNTH_INLINE inline __attribute__((always_inline))

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

using std::ptrdiff_t;

constexpr int rows = compose::ConvolveKernels::rows;
typedef std::int16_t Shorts __attribute__((vector_size(lanes * sizeof(float))));

/// What kernels sum in: float, or 16-bit integers, twice as many at once.
template <class Number>
struct VectorOf {
    using Type = Floats;
};
template <>
struct VectorOf<std::int16_t> {
    using Type = Shorts;
};
template <class Number>
using Vector = typename VectorOf<Number>::Type;
template <class Number>
constexpr int lanes_of = static_cast<int>(sizeof(Floats) / sizeof(Number));

// Vectors beside one another: rows x vectors sums stay in registers, of which AVX-512 has 32. Small
// kernels keep their taps there too.
template <class Number>
constexpr int many = lanes == 16 && sizeof(Number) == 4 ? 4 : 2;
constexpr int few = 2;
static_assert(many<float> * lanes <= compose::ConvolveKernels::slack &&
                  few * lanes_of<std::int16_t> <= compose::ConvolveKernels::slack,
              "a block reaches into the slack");

template <class Number>
inline Vector<Number> load_numbers(const Number* p) {
    Vector<Number> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <class Number, int vectors>
struct Sums {
    Vector<Number> of[rows][vectors];
};

template <class Number, int vectors>
inline void put(const Sums<Number, vectors>& sums, Number* out, ptrdiff_t stride, bool add) {
    for (int r = 0; r < rows; ++r) {
        for (int v = 0; v < vectors; ++v) {
            Number* p = out + r * stride + v * lanes_of<Number>;
            const Vector<Number> sum = add ? load_numbers(p) + sums.of[r][v] : sums.of[r][v];
            std::memcpy(p, &sum, sizeof sum);
        }
    }
}

/// One row of input meets the rows `low` to `high` of output; row r of output takes it with the
/// taps of kernel row i - r.
template <int low, int high, class Number, int vectors>
FASTSYNTH_INLINE void meet(const Number* in, const Number* taps, int i, int width, int step,
                           Sums<Number, vectors>& sums) {
    for (int j = 0; j < width; ++j) {
        Vector<Number> x[vectors];
        for (int v = 0; v < vectors; ++v)
            x[v] = load_numbers(in + v * lanes_of<Number> + ptrdiff_t(j) * step);
        for (int r = low; r <= high; ++r) {
            const Vector<Number> tap = taps[ptrdiff_t(i - r) * width + j] + Vector<Number>{};
            for (int v = 0; v < vectors; ++v) sums.of[r][v] += tap * x[v];
        }
    }
}

/// Kernels of at least `rows` rows.
template <class Number, int vectors>
FASTSYNTH_INLINE void tall(const Number* in, ptrdiff_t stride, const Number* taps, int height,
                           int width, int step, Sums<Number, vectors>& sums) {
    static_assert(rows == 4, "the rows at the ends are written out");
    meet<0, 0>(in, taps, 0, width, step, sums);
    meet<0, 1>(in + stride, taps, 1, width, step, sums);
    meet<0, 2>(in + 2 * stride, taps, 2, width, step, sums);
    int i = 3;
    for (; i < height; ++i) meet<0, 3>(in + i * stride, taps, i, width, step, sums);
    meet<1, 3>(in + i * stride, taps, i, width, step, sums);
    meet<2, 3>(in + (i + 1) * stride, taps, i + 1, width, step, sums);
    meet<3, 3>(in + (i + 2) * stride, taps, i + 2, width, step, sums);
}

template <class Number, int vectors>
FASTSYNTH_INLINE void two(const Number* in, ptrdiff_t stride, const Number* taps, int width,
                          int step, Sums<Number, vectors>& sums) {
    meet<0, 0>(in, taps, 0, width, step, sums);
    meet<0, 1>(in + stride, taps, 1, width, step, sums);
    meet<1, 2>(in + 2 * stride, taps, 2, width, step, sums);
    meet<2, 3>(in + 3 * stride, taps, 3, width, step, sums);
    meet<3, 3>(in + 4 * stride, taps, 4, width, step, sums);
}

template <class Number, int vectors>
FASTSYNTH_INLINE void three(const Number* in, ptrdiff_t stride, const Number* taps, int width,
                            int step, Sums<Number, vectors>& sums) {
    meet<0, 0>(in, taps, 0, width, step, sums);
    meet<0, 1>(in + stride, taps, 1, width, step, sums);
    meet<0, 2>(in + 2 * stride, taps, 2, width, step, sums);
    meet<1, 3>(in + 3 * stride, taps, 3, width, step, sums);
    meet<2, 3>(in + 4 * stride, taps, 4, width, step, sums);
    meet<3, 3>(in + 5 * stride, taps, 5, width, step, sums);
}

/// A single row of taps: the rows of input share nothing but the taps.
template <class Number, int vectors>
FASTSYNTH_INLINE void flat(const Number* in, ptrdiff_t stride, const Number* taps, int width,
                           int step, Sums<Number, vectors>& sums) {
    for (int j = 0; j < width; ++j) {
        const Vector<Number> tap = taps[j] + Vector<Number>{};
        for (int r = 0; r < rows; ++r)
            for (int v = 0; v < vectors; ++v)
                sums.of[r][v] += tap * load_numbers(in + r * stride + v * lanes_of<Number> +
                                                    ptrdiff_t(j) * step);
    }
}

template <int vectors, class Number, class SumAt>
FASTSYNTH_INLINE void blocks(const Number* in, Number* out, ptrdiff_t out_stride, ptrdiff_t n,
                             bool add, SumAt sum_at) {
    for (ptrdiff_t x = 0; x < n; x += vectors * lanes_of<Number>) {
        Sums<Number, vectors> sums{};
        sum_at(in + x, sums);
        put(sums, out + x, out_stride, add);
    }
}

template <class Number>
void dense(const Number* in, ptrdiff_t stride, const Number* taps, int height, int width, int step,
           Number* out, ptrdiff_t out_stride, ptrdiff_t n, bool add) {
    constexpr int most = many<Number>;
    if (height == 1) {
        blocks<most>(in, out, out_stride, n, add, [=](const Number* at, auto& sums) {
            flat(at, stride, taps, width, step, sums);
        });
    } else if (height == 2) {
        blocks<few>(in, out, out_stride, n, add, [=](const Number* at, auto& sums) {
            two(at, stride, taps, width, step, sums);
        });
    } else if (height == 3 && width == 3) {
        Number own[9];  // a copy: the compiler may keep the taps in registers
        for (int i = 0; i < 9; ++i) own[i] = taps[i];
        blocks<few>(in, out, out_stride, n, add,
                    [=](const Number* at, auto& sums) { three(at, stride, own, 3, step, sums); });
    } else if (height == 3) {
        blocks<few>(in, out, out_stride, n, add, [=](const Number* at, auto& sums) {
            three(at, stride, taps, width, step, sums);
        });
    } else {
        blocks<most>(in, out, out_stride, n, add, [=](const Number* at, auto& sums) {
            tall(at, stride, taps, height, width, step, sums);
        });
    }
}

void sparse(const float* in, ptrdiff_t stride, const float* values, const ptrdiff_t* offsets,
            int count, float* out, ptrdiff_t out_stride, ptrdiff_t n) {
    blocks<few>(in, out, out_stride, n, false, [=](const float* at, auto& sums) {
        for (int t = 0; t < count; ++t) {
            const Floats tap = broadcast(values[t]);
            for (int r = 0; r < rows; ++r)
                for (int v = 0; v < few; ++v)
                    sums.of[r][v] += tap * load(at + offsets[t] + r * stride + v * lanes);
        }
    });
}

}  // namespace

extern const compose::ConvolveKernels convolve_table;
const compose::ConvolveKernels convolve_table{dense<float>, dense<std::int16_t>, sparse};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
