#include "fastsynth/objective/image_terms.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/kernel_set.hpp"
#include "fastsynth/common/vector.hpp"
#include "kernels/image.hpp"

namespace fastsynth {

namespace portable {
extern const ImageKernels image_table;
}
#ifdef FASTSYNTH_X86
namespace avx2 {
extern const ImageKernels image_table;
}
namespace avx512 {
extern const ImageKernels image_table;
}
#endif

const ImageKernels& image_kernels() {
#ifdef FASTSYNTH_X86
    static const ImageKernels& table =
        choose(portable::image_table, avx2::image_table, avx512::image_table);
    return table;
#else
    return portable::image_table;
#endif
}

namespace {

constexpr float edge = 1e-3f;               // ε of total variation with β < 2
constexpr std::size_t piece = 1024;         // pixels whose intermediate values lie on the stack
constexpr std::int64_t grain = 32 * piece;  // pixels of one task

/// pool.sum over [0, count), in tasks that call body(begin, size) for pieces in order.
template <class Body>
double sum_pieces(std::size_t count, ThreadPool& pool, Body body) {
    return pool.sum(static_cast<std::int64_t>(count), grain,
                    [&](std::int64_t begin, std::int64_t end) {
                        double sum = 0.0;
                        for (auto i = static_cast<std::size_t>(begin);
                             i < static_cast<std::size_t>(end); i += piece)
                            sum += body(i, std::min(piece, static_cast<std::size_t>(end) - i));
                        return sum;
                    });
}

}  // namespace

TotalVariation::TotalVariation(double beta, Average average) : beta_(beta), average_(average) {
    require(beta > 0.0 && std::isfinite(beta), "beta must be a positive number, not ", beta);
}

double TotalVariation::evaluate(const float* image, int height, int width, double weight,
                                float* gradient, ThreadPool& pool) {
    const ImageKernels& kernels = image_kernels();
    const auto columns = static_cast<std::size_t>(width);
    const double pixels = static_cast<double>(height) * width;
    const double share = average_ == Average::mean ? 1.0 / pixels : 1.0;
    const auto beta = static_cast<float>(beta_);
    const float epsilon = beta_ < 2.0 ? edge : 0.0f;
    const auto factor = static_cast<float>(weight * share);

    // Tasks are groups of rows of all three channels together, [channel][row]. Each repeats the row
    // above its first, whose vertical difference also moves the first row.
    const std::int64_t rows_per_task = std::max<std::int64_t>(1, grain / width);
    const double sum =
        pool.sum(3LL * height, rows_per_task, [&](std::int64_t begin, std::int64_t end) {
            std::vector<float> scratch(4 * columns);
            float* values = scratch.data();
            float* u = values + columns;
            float* v = u + columns;
            float* v_above = v + columns;
            double total = 0.0;
            for (std::int64_t line = begin; line < end; ++line) {
                const std::int64_t y = line % height;
                const float* row = image + static_cast<std::size_t>(line) * columns;
                if (weight != 0.0 && line == begin && y > 0)
                    kernels.variation(row - columns, row, columns, beta, epsilon, values, u,
                                      v_above);
                const double least = kernels.variation(row, y + 1 < height ? row + columns : row,
                                                       columns, beta, epsilon, values, u, v);
                total += vector_kernels().sum(values, columns) - least * width;
                if (weight != 0.0)
                    kernels.variation_gradient(u, v, y > 0 ? v_above : nullptr, columns, factor,
                                               gradient + static_cast<std::size_t>(line) * columns);
                std::swap(v, v_above);
            }
            return total;
        });
    return share * sum;
}

AlphaNorm::AlphaNorm(double alpha, Average average) : alpha_(alpha), average_(average) {
    require(alpha > 1.0 && std::isfinite(alpha), "alpha must be a number above 1, not ", alpha);
}

double AlphaNorm::evaluate(const float* image, int height, int width, double weight,
                           float* gradient, ThreadPool& pool) {
    const ImageKernels& kernels = image_kernels();
    const std::size_t pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    const double share = average_ == Average::mean ? 1.0 / static_cast<double>(pixels) : 1.0;
    const auto alpha = static_cast<float>(alpha_);
    const auto factor = static_cast<float>(weight * share);
    const double sum = sum_pieces(pixels, pool, [&](std::size_t begin, std::size_t size) {
        float values[piece], slopes[piece];
        const float* channels[3] = {image + begin, image + pixels + begin,
                                    image + 2 * pixels + begin};
        kernels.norm_power(channels, size, alpha, values, slopes);
        if (weight != 0.0)
            for (std::size_t c = 0; c < 3; ++c)
                kernels.norm_gradient(channels[c], slopes, size, factor,
                                      gradient + c * pixels + begin);
        return vector_kernels().sum(values, size);
    });
    return share * sum;
}

RangePenalty::RangePenalty(double low, double high)
    : low_(static_cast<float>(low)), high_(static_cast<float>(high)) {
    require(low < high, "the range needs low < high, not ", low, " and ", high);
}

double RangePenalty::evaluate(const float* image, int height, int width, double weight,
                              float* gradient, ThreadPool& pool) {
    const ImageKernels& kernels = image_kernels();
    const VectorKernels& vectors = vector_kernels();
    const std::size_t count =
        3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    const double share = 1.0 / static_cast<double>(count);
    const double sum = sum_pieces(count, pool, [&](std::size_t begin, std::size_t size) {
        float distances[piece];
        kernels.outside(image + begin, size, low_, high_, distances);
        if (weight != 0.0)
            vectors.axpy(static_cast<float>(2.0 * weight * share), distances, gradient + begin,
                         size);
        return vectors.dot(distances, distances, size);
    });
    return share * sum;
}

}  // namespace fastsynth
