#include "fastsynth/optimize/laplacian.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/kernel_set.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {

namespace portable {
extern const PyramidKernels pyramid_table;
}
#ifdef FASTSYNTH_X86
namespace avx2 {
extern const PyramidKernels pyramid_table;
}
namespace avx512 {
extern const PyramidKernels pyramid_table;
}
#endif

const PyramidKernels& pyramid_kernels() {
#ifdef FASTSYNTH_X86
    static const PyramidKernels& table =
        choose(portable::pyramid_table, avx2::pyramid_table, avx512::pyramid_table);
    return table;
#else
    return portable::pyramid_table;
#endif
}

namespace {

constexpr int smallest = 4;               // samples: a side below this is not halved any more
constexpr double negligible = 1e-5;       // share of the whole below which a band is rounding
constexpr std::int64_t values = 1 << 15;  // of one task

std::int64_t rows_per_task(int width) { return std::max<std::int64_t>(1, values / width); }

double rms(const float* x, std::size_t n, ThreadPool& pool) {
    return std::sqrt(dot(x, x, n, pool) / static_cast<double>(n));
}

}  // namespace

BandNormalizer::BandNormalizer(int planes, int height, int width, int levels) : planes_(planes) {
    require(planes > 0 && height > 0 && width > 0, "a pyramid needs at least one sample, not ",
            planes, " x ", height, " x ", width);
    require(levels >= 0 && levels <= 30, "a pyramid has 0 to 30 levels, not ", levels);
    sizes_.push_back({height, width});
    while (static_cast<int>(sizes_.size()) <= levels &&
           std::min(sizes_.back().height, sizes_.back().width) >= smallest) {
        const Size fine = sizes_.back();
        sizes_.push_back({(fine.height + 1) / 2, (fine.width + 1) / 2});
        coarse_.emplace_back(sizes_.back().count(planes));
    }
}

std::size_t BandNormalizer::size() const { return sizes_[0].count(planes_); }

void BandNormalizer::down(const float* fine, std::size_t level, float* coarse, ThreadPool& pool) {
    const PyramidKernels& kernels = pyramid_kernels();
    const Size from = sizes_[level], to = sizes_[level + 1];
    const auto width = static_cast<std::size_t>(from.width);
    pool.for_ranges(static_cast<std::int64_t>(planes_) * to.height, rows_per_task(from.width),
                    [&](std::int64_t begin, std::int64_t end) {
                        constexpr float taps[5] = {1.0f, 4.0f, 6.0f, 4.0f, 1.0f};
                        std::vector<float> line(width);
                        for (std::int64_t row = begin; row < end; ++row) {
                            const auto plane = static_cast<std::size_t>(row / to.height);
                            const int y = static_cast<int>(row % to.height);
                            const float* rows[5];
                            float weights[5], total = 0.0f;
                            int count = 0;
                            for (int j = 0; j < 5; ++j) {
                                const int at = 2 * y + j - 2;
                                if (at < 0 || at >= from.height) continue;
                                rows[count] =
                                    fine + (plane * static_cast<std::size_t>(from.height) +
                                            static_cast<std::size_t>(at)) *
                                               width;
                                weights[count++] = taps[j];
                                total += taps[j];
                            }
                            for (int j = 0; j < count; ++j) weights[j] /= total;
                            kernels.combine(rows, weights, count, width, line.data());
                            kernels.shrink(line.data(), width,
                                           coarse + static_cast<std::size_t>(row) *
                                                        static_cast<std::size_t>(to.width));
                        }
                    });
}

void BandNormalizer::add_up(const float* coarse, std::size_t level, float a, float b, float* fine,
                            ThreadPool& pool) {
    const PyramidKernels& kernels = pyramid_kernels();
    const Size to = sizes_[level], from = sizes_[level + 1];
    const auto width = static_cast<std::size_t>(from.width);
    pool.for_ranges(
        static_cast<std::int64_t>(planes_) * to.height, rows_per_task(to.width),
        [&](std::int64_t begin, std::int64_t end) {
            std::vector<float> line(width);
            for (std::int64_t row = begin; row < end; ++row) {
                const auto plane = static_cast<std::size_t>(row / to.height);
                const int y = static_cast<int>(row % to.height), at = y / 2;
                const float* rows[3];
                float weights[3], total = 0.0f;
                int count = 0;
                // An even row lies on a coarse one, an odd row between two.
                const int first = y % 2 ? at : at - 1, last = at + 1;
                for (int i = first; i <= last; ++i) {
                    if (i < 0 || i >= from.height) continue;
                    rows[count] = coarse + (plane * static_cast<std::size_t>(from.height) +
                                            static_cast<std::size_t>(i)) *
                                               width;
                    weights[count] = y % 2 ? 4.0f : (i == at ? 6.0f : 1.0f);
                    total += weights[count++];
                }
                for (int j = 0; j < count; ++j) weights[j] /= total;
                kernels.combine(rows, weights, count, width, line.data());
                float* out =
                    fine + static_cast<std::size_t>(row) * static_cast<std::size_t>(to.width);
                kernels.widen_add(line.data(), static_cast<std::size_t>(to.width), a, out, b, out);
            }
        });
}

void BandNormalizer::apply(float* planes, ThreadPool& pool) {
    const double floor = negligible * rms(planes, size(), pool);
    if (!(floor > 0.0)) return;
    std::vector<float*> bands{planes};
    for (Buffer<float>& buffer : coarse_) bands.push_back(buffer.data());
    for (std::size_t level = 0; level + 1 < bands.size(); ++level) {
        down(bands[level], level, bands[level + 1], pool);
        add_up(bands[level + 1], level, 1.0f, -1.0f, bands[level], pool);
    }
    std::vector<float> scales;
    for (std::size_t level = 0; level < bands.size(); ++level)
        scales.push_back(static_cast<float>(
            1.0 / std::max(rms(bands[level], sizes_[level].count(planes_), pool), floor)));
    // The coarsest band is scaled when it is added to the next, its scale riding on b.
    for (std::size_t level = bands.size() - 1; level-- > 0;)
        add_up(bands[level + 1], level, scales[level],
               level + 2 == bands.size() ? scales[level + 1] : 1.0f, bands[level], pool);
    if (bands.size() == 1)
        pool.for_ranges(static_cast<std::int64_t>(size()), values,
                        [&](std::int64_t begin, std::int64_t end) {
                            vector_kernels().scale(scales[0], planes + begin,
                                                   static_cast<std::size_t>(end - begin));
                        });
}

}  // namespace fastsynth
