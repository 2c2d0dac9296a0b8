// AffineKernels: see compose/affine.hpp. Compiled without contraction of a * b + c into fused
// operations, so that all sets round alike.
#include "fastsynth/compose/affine.hpp"

#include "kernels/simd.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

using compose::WeightTable;
using std::int32_t;

// One pixel.
typedef float Pixel __attribute__((vector_size(16)));

inline Pixel load_pixel(const float* p) {
    Pixel v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store_pixel(float* p, Pixel v) { std::memcpy(p, &v, sizeof v); }

void locate(double x, double y, double dx, double dy, int n, int stride, int32_t* places,
            float* fraction_x, float* fraction_y) {
    for (int i = 0; i < n; ++i) {
        const double px = x + i * dx, py = y + i * dy;
        const auto ix = static_cast<int32_t>(px), iy = static_cast<int32_t>(py);
        places[i] = iy * stride + 4 * ix;
        fraction_x[i] = static_cast<float>(px - ix);
        fraction_y[i] = static_cast<float>(py - iy);
    }
}

void nearest(const float* patch, const int32_t* places, int n, float* out) {
    for (int i = 0; i < n; ++i) store_pixel(out + 4 * i, load_pixel(patch + places[i]));
}

void bilinear(const float* patch, int stride, const int32_t* places, const float* fraction_x,
              const float* fraction_y, int n, float* out) {
    for (int i = 0; i < n; ++i) {
        const float* at = patch + places[i];
#if defined(__AVX2__)
        const __m256 above = _mm256_loadu_ps(at), below = _mm256_loadu_ps(at + stride);
        const __m256 fy = _mm256_set1_ps(fraction_y[i]);
        const __m256 both = above + (below - above) * fy;
        const Pixel left = _mm256_castps256_ps128(both);
        const Pixel right = _mm256_extractf128_ps(both, 1);
#else
        const Pixel a = load_pixel(at), b = load_pixel(at + 4);
        const Pixel left = a + (load_pixel(at + stride) - a) * fraction_y[i];
        const Pixel right = b + (load_pixel(at + stride + 4) - b) * fraction_y[i];
#endif
        store_pixel(out + 4 * i, left + (right - left) * fraction_x[i]);
    }
}

// Four pixels, in as many registers as they need.
constexpr int parts = 16 / lanes;
struct Four {
    Floats of[parts];
};

inline Pixel total(const Four& four) {
    float values[16];
    for (int k = 0; k < parts; ++k) store(values + k * lanes, four.of[k]);
    return (load_pixel(values) + load_pixel(values + 4)) +
           (load_pixel(values + 8) + load_pixel(values + 12));
}

void weighted(const float* patch, int stride, const int32_t* places, const float* fraction_x,
              const float* fraction_y, int n, const WeightTable& along_x,
              const WeightTable& along_y, float* out) {
    const auto split = [](float fraction, const WeightTable& table, float& rest) {
        const float scaled = fraction * WeightTable::phases;
        const auto phase = static_cast<int32_t>(scaled);
        rest = scaled - static_cast<float>(phase);
        return table.weights + static_cast<std::ptrdiff_t>(phase) * table.stride;
    };
    for (int i = 0; i < n; ++i) {
        float rest_x, rest_y;
        const float* wx = split(fraction_x[i], along_x, rest_x);
        const float* wy = split(fraction_y[i], along_y, rest_y);
        Four sum{};
        for (int chunk = 0; chunk < along_x.stride; chunk += 16) {
            Four column{};
            const float* at = patch + places[i] + chunk;
            for (int row = 0; row < along_y.taps; ++row) {
                const Floats weight =
                    broadcast(wy[row] + (wy[row + along_y.stride] - wy[row]) * rest_y);
                for (int k = 0; k < parts; ++k) column.of[k] += weight * load(at + k * lanes);
                at += stride;
            }
            for (int k = 0; k < parts; ++k) {
                const Floats here = load(wx + chunk + k * lanes);
                const Floats next = load(wx + along_x.stride + chunk + k * lanes);
                sum.of[k] += column.of[k] * (here + (next - here) * rest_x);
            }
        }
        store_pixel(out + 4 * i, total(sum));
    }
}

void widen(const float* in, int channels, float* out, std::int64_t pixels) {
    if (channels == 3) {
        for (std::int64_t i = 0; i < pixels; ++i) store_pixel(out + 4 * i, load_pixel(in + 3 * i));
    } else {
        for (std::int64_t i = 0; i < pixels; ++i) store_pixel(out + 4 * i, in[i] - Pixel{});
    }
}

void narrow(const float* in, int channels, float* out, std::int64_t pixels) {
    if (channels == 3) {
        for (std::int64_t i = 0; i < pixels; ++i) store_pixel(out + 3 * i, load_pixel(in + 4 * i));
    } else {
        for (std::int64_t i = 0; i < pixels; ++i) out[i] = in[4 * i];
    }
}

}  // namespace

extern const compose::AffineKernels affine_table;
const compose::AffineKernels affine_table{locate, nearest, bilinear, weighted, widen, narrow};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
