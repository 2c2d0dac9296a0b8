// ConvolveKernels: see compose/convolve.hpp. Compiled without contraction of a * b + c into fused
// operations, so that all sets round alike; on processors that multiply and add in different
// units it costs little.
#include "fastsynth/compose/convolve.hpp"

#include "kernels/simd.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

using std::ptrdiff_t;

constexpr int rows = compose::ConvolveKernels::rows;
constexpr int vectors = 2;  // beside one another: rows x vectors sums stay in registers
constexpr int block = vectors * lanes;
static_assert(block <= compose::ConvolveKernels::slack, "a block reaches into the slack");

struct Sums {
    Floats of[rows][vectors];
};

inline void put(const Sums& sums, float* out, ptrdiff_t stride, bool add) {
    for (int r = 0; r < rows; ++r) {
        for (int v = 0; v < vectors; ++v) {
            float* p = out + r * stride + v * lanes;
            store(p, add ? load(p) + sums.of[r][v] : sums.of[r][v]);
        }
    }
}

/// One row of input meets the rows low to high of output; row r of output takes it with the taps
/// of kernel row i - r.
template <int low, int high>
inline void meet(const float* in, const float* taps, int i, int width, int step, Sums& sums) {
    for (int j = 0; j < width; ++j) {
        Floats x[vectors];
        for (int v = 0; v < vectors; ++v) x[v] = load(in + v * lanes + ptrdiff_t(j) * step);
        for (int r = low; r <= high; ++r) {
            const Floats tap = broadcast(taps[ptrdiff_t(i - r) * width + j]);
            for (int v = 0; v < vectors; ++v) sums.of[r][v] += tap * x[v];
        }
    }
}

/// Kernels of at least `rows` rows.
Sums tall(const float* in, ptrdiff_t stride, const float* taps, int height, int width, int step) {
    static_assert(rows == 4, "the rows at the ends are written out");
    Sums sums{};
    meet<0, 0>(in, taps, 0, width, step, sums);
    meet<0, 1>(in + stride, taps, 1, width, step, sums);
    meet<0, 2>(in + 2 * stride, taps, 2, width, step, sums);
    int i = 3;
    for (; i < height; ++i) meet<0, 3>(in + i * stride, taps, i, width, step, sums);
    meet<1, 3>(in + i * stride, taps, i, width, step, sums);
    meet<2, 3>(in + (i + 1) * stride, taps, i + 1, width, step, sums);
    meet<3, 3>(in + (i + 2) * stride, taps, i + 2, width, step, sums);
    return sums;
}

template <int height>
Sums low(const float* in, ptrdiff_t stride, const float* taps, int width, int step) {
    Sums sums{};
    if constexpr (height == 2) {
        meet<0, 0>(in, taps, 0, width, step, sums);
        meet<0, 1>(in + stride, taps, 1, width, step, sums);
        meet<1, 2>(in + 2 * stride, taps, 2, width, step, sums);
        meet<2, 3>(in + 3 * stride, taps, 3, width, step, sums);
        meet<3, 3>(in + 4 * stride, taps, 4, width, step, sums);
    } else {
        meet<0, 0>(in, taps, 0, width, step, sums);
        meet<0, 1>(in + stride, taps, 1, width, step, sums);
        meet<0, 2>(in + 2 * stride, taps, 2, width, step, sums);
        meet<1, 3>(in + 3 * stride, taps, 3, width, step, sums);
        meet<2, 3>(in + 4 * stride, taps, 4, width, step, sums);
        meet<3, 3>(in + 5 * stride, taps, 5, width, step, sums);
    }
    return sums;
}

/// A single row of taps: the rows of input share nothing but the taps.
Sums flat(const float* in, ptrdiff_t stride, const float* taps, int width, int step) {
    Sums sums{};
    for (int j = 0; j < width; ++j) {
        const Floats tap = broadcast(taps[j]);
        for (int r = 0; r < rows; ++r)
            for (int v = 0; v < vectors; ++v)
                sums.of[r][v] += tap * load(in + r * stride + v * lanes + ptrdiff_t(j) * step);
    }
    return sums;
}

void dense(const float* in, ptrdiff_t stride, const float* taps, int height, int width, int step,
           float* out, ptrdiff_t out_stride, ptrdiff_t n, bool add) {
    const auto all = [&](auto sums_at) {
        for (ptrdiff_t x = 0; x < n; x += block) put(sums_at(in + x), out + x, out_stride, add);
    };
    if (height == 1) {
        all([=](const float* at) { return flat(at, stride, taps, width, step); });
    } else if (height == 2) {
        all([=](const float* at) { return low<2>(at, stride, taps, width, step); });
    } else if (height == 3 && width == 3) {
        all([=](const float* at) { return low<3>(at, stride, taps, 3, step); });
    } else if (height == 3) {
        all([=](const float* at) { return low<3>(at, stride, taps, width, step); });
    } else {
        all([=](const float* at) { return tall(at, stride, taps, height, width, step); });
    }
}

void sparse(const float* in, ptrdiff_t stride, const float* values, const ptrdiff_t* offsets,
            int count, float* out, ptrdiff_t out_stride, ptrdiff_t n) {
    for (ptrdiff_t x = 0; x < n; x += block) {
        Sums sums{};
        for (int t = 0; t < count; ++t) {
            const Floats tap = broadcast(values[t]);
            const float* at = in + x + offsets[t];
            for (int r = 0; r < rows; ++r)
                for (int v = 0; v < vectors; ++v)
                    sums.of[r][v] += tap * load(at + r * stride + v * lanes);
        }
        put(sums, out + x, out_stride, false);
    }
}

}  // namespace

extern const compose::ConvolveKernels convolve_table;
const compose::ConvolveKernels convolve_table{dense, sparse};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
