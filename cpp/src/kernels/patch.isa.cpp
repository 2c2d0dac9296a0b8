// PatchKernels: see synthesize/patch_field.hpp.
#include "fastsynth/synthesize/patch_field.hpp"
#include "kernels/simd.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

// Halves are added in a fixed order, so that the value does not depend on the compiler.
float total(Floats v) {
    float parts[lanes];
    store(parts, v);
    for (int width = lanes / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) parts[i] += parts[i + width];
    return parts[0];
}

inline Floats row_sum(const float* a, const float* b, const float* w, int length, Floats sum) {
    for (int i = 0; i < length; i += lanes) {
        const Floats d = load(a + i) - load(b + i);
        sum += load(w + i) * d * d;
    }
    return sum;
}

float distance(const float* a, std::size_t a_stride, const float* b, std::size_t b_stride,
               const float* w, int rows, int length, float limit) {
    // The middle row tells the most; most random samples are refused by it and the row after it.
    const int middle = rows / 2;
    const auto row = [&](int r, Floats sum) {
        const auto i = static_cast<std::size_t>(r);
        return row_sum(a + i * a_stride, b + i * b_stride, w + i * static_cast<std::size_t>(length),
                       length, sum);
    };
    Floats sum = row(middle, Floats{});
    if (middle + 1 < rows) sum = row(middle + 1, sum);
    if (const float early = total(sum); early > limit) return early;
    for (int r = 0; r < middle; ++r) sum = row(r, sum);
    for (int r = middle + 2; r < rows; ++r) sum = row(r, sum);
    return total(sum);
}

}  // namespace

extern const PatchKernels patch_table;
const PatchKernels patch_table{lanes, distance};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
