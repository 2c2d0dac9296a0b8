#include "fastsynth/objective/gram.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/kernel_set.hpp"

namespace fastsynth {

namespace portable {
extern const GramKernels gram_table;
}
#ifdef FASTSYNTH_X86
namespace avx2 {
extern const GramKernels gram_table;
}
namespace avx512 {
extern const GramKernels gram_table;
}
namespace avx512pairs {
extern const GramPairs gram_pairs;
}
#endif

const GramKernels& gram_kernels() {
#ifdef FASTSYNTH_X86
    static const GramKernels& table =
        choose(portable::gram_table, avx2::gram_table, avx512::gram_table);
    return table;
#else
    return portable::gram_table;
#endif
}

const GramPairs* gram_pairs() {
#ifdef FASTSYNTH_X86
    if (kernel_set() == KernelSet::avx512pairs) return &avx512pairs::gram_pairs;
#endif
    return nullptr;
}

double features_rms(const float* gram, int channels) {
    double sum = 0.0;
    const auto line = static_cast<std::size_t>(channels);
    for (std::size_t i = 0; i < line; ++i) sum += gram[i * line + i];
    return std::sqrt(sum / channels);
}

namespace {

/// Buffer::resize clears; scratch that is written before it is read need not be cleared again.
float* reserve(Buffer<float>& buffer, std::size_t count) {
    if (buffer.size() < count) buffer.resize(count);
    return buffer.data();
}

/// How a Gram matrix of this shape is summed. Depends on the shape alone (see the header on
/// precision).
struct Plan {
    std::size_t positions, chunk, slab, slabs;

    Plan(std::size_t all_positions, std::size_t channels) : positions(all_positions) {
        // A packed chunk takes at most 512 KiB, half of a typical L2 cache, and 512 positions bound
        // the error of a sum.
        chunk = std::clamp<std::size_t>((std::size_t{1} << 17) / channels, 64, 512);
        // At least four chunks to a slab, at most 64 slabs, and not above 4 MiB of slab sums,
        // unless float32 sums of a slab would become longer than 64 chunks.
        const std::size_t room =
            std::max<std::size_t>((std::size_t{1} << 20) / (channels * channels), 1);
        const std::size_t wanted =
            std::clamp<std::size_t>(positions / (4 * chunk), 1, std::min<std::size_t>(room, 64));
        const std::size_t chunks = (positions + chunk - 1) / chunk;
        const std::size_t chunks_per_slab =
            std::min<std::size_t>((chunks + wanted - 1) / wanted, 64);
        slab = chunks_per_slab * chunk;
        slabs = (positions + slab - 1) / slab;
    }
};

/// Boundaries that cut the row panels of an upper triangle into `parts` of about equal work.
std::vector<int> stripes(int panels, int parts) {
    std::vector<int> bounds{0};
    const std::int64_t all = static_cast<std::int64_t>(panels) * (panels + 1) / 2;
    std::int64_t done = 0;
    for (int row = 0; row < panels; ++row) {
        done += panels - row;
        if (done * parts >= all * static_cast<std::int64_t>(bounds.size()))
            bounds.push_back(row + 1);
    }
    return bounds;
}

/// In float64, eight sums at a time, lest each addition wait for the last.
double sum_of_squares(const float* values, std::size_t count) {
    double sums[8] = {};
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (std::size_t k = 0; k < 8; ++k) {
            const double value = values[i + k];
            sums[k] += value * value;
        }
    for (; i < count; ++i) sums[0] += static_cast<double>(values[i]) * values[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

void check(const FeatureMap& f) {
    require(f.channels > 0 && f.positions() > 0 && f.block > 0 && f.channels % f.block == 0,
            "cannot take the Gram matrix of ", f.channels, " x ", f.height, " x ", f.width,
            " features in blocks of ", f.block);
}

}  // namespace

void GramProduct::gram(const FeatureMap& f, float* gram, ThreadPool& pool) {
    check(f);
    const GramKernels& kernels = gram_kernels();
    const auto lanes = static_cast<std::size_t>(kernels.lanes);
    const auto channels = static_cast<std::size_t>(f.channels);
    const std::size_t positions = f.positions();
    const int panels = static_cast<int>((channels + lanes - 1) / lanes);
    const std::size_t line = static_cast<std::size_t>(panels) * lanes;
    const Plan plan(positions, line);
    const bool in_place = f.block == kernels.lanes;

    // Stripes of the triangle share the slabs out further; they do not change any sum, so they may
    // follow the threads.
    const auto slabs = static_cast<int>(plan.slabs);
    const int parts =
        pool.threads() == 1 ? 1 : std::clamp((4 * pool.threads() + slabs - 1) / slabs, 1, panels);
    const std::vector<int> bounds = stripes(panels, parts);
    const auto count = static_cast<std::int64_t>(bounds.size()) - 1;

    const std::size_t chunk_floats = line * plan.chunk;
    float* chunks = in_place
                        ? nullptr
                        : reserve(chunks_, chunk_floats * static_cast<std::size_t>(pool.threads()));
    float* sums = reserve(sums_, plan.slabs * line * line);
    const GramPairs* pairs = gram_pairs();
    const std::size_t x_x_floats = pairs ? pairs->sums * line : 0;
    float* x_x =
        pairs ? reserve(x_x_, x_x_floats * static_cast<std::size_t>(pool.threads())) : nullptr;

    pool.run(slabs * count, [&](std::int64_t task, int worker) {
        const auto slab = static_cast<std::size_t>(task % slabs);
        const auto stripe = static_cast<std::size_t>(task / slabs);
        const int first = bounds[stripe], last = bounds[stripe + 1];
        const std::size_t start = slab * plan.slab, end = std::min(positions, start + plan.slab);
        float* slab_sums = sums + slab * line * line;
        for (std::size_t begin = start; begin < end; begin += plan.chunk) {
            const std::size_t size = std::min(plan.chunk, end - begin);
            Panels part{f.data + begin * lanes, positions * lanes, size, panels};
            if (!in_place) {
                float* packed = chunks + chunk_floats * static_cast<std::size_t>(worker);
                kernels.pack(f, begin, size, packed);
                part = {packed, size * lanes, size, panels};
            }
            if (pairs) {
                pairs->multiply(part, first, last, slab_sums, begin != start,
                                x_x + x_x_floats * static_cast<std::size_t>(worker));
            } else {
                kernels.multiply(part, first, last, slab_sums, begin != start);
            }
        }
    });

    // Adds the slabs, divides by M, and mirrors the upper triangle.
    const double scale = 1.0 / static_cast<double>(positions);
    pool.run(panels, [&](std::int64_t panel, int) {
        const std::size_t from = static_cast<std::size_t>(panel) * lanes,
                          to = std::min(channels, from + lanes);
        std::vector<double> row(channels);
        for (std::size_t i = from; i < to; ++i) {
            std::fill(row.begin(), row.end(), 0.0);
            for (std::size_t slab = 0; slab < plan.slabs; ++slab) {
                const float* part = sums + slab * line * line + i * line;
                for (std::size_t j = i; j < channels; ++j) row[j] += part[j];
            }
            for (std::size_t j = i; j < channels; ++j)
                gram[i * channels + j] = static_cast<float>(row[j] * scale);
        }
        for (std::size_t j = from + 1; j < channels; ++j)
            for (std::size_t i = from; i < std::min(to, j); ++i)
                gram[j * channels + i] = gram[i * channels + j];
    });
}

void GramProduct::apply(const FeatureMap& f, const float* d, double scale, const FeatureMap& out,
                        bool add, ThreadPool& pool, double rms) {
    check(f);
    require(out.block == f.block && out.channels == f.channels && out.positions() == f.positions(),
            "the result of the product must have the shape and layout of the features");
    const GramKernels& kernels = gram_kernels();
    const auto lanes = static_cast<std::size_t>(kernels.lanes);
    const auto channels = static_cast<std::size_t>(f.channels);
    const std::size_t positions = f.positions();
    const int panels = static_cast<int>((channels + lanes - 1) / lanes);
    const std::size_t line = static_cast<std::size_t>(panels) * lanes;
    const bool in_place = f.block == kernels.lanes;
    const GramPairs* pairs = rms > 0.0 && std::isfinite(rms) ? gram_pairs() : nullptr;

    // scale · D in column groups, zero where channels are missing.
    const std::size_t extra = pairs ? 1 : 0;  // row of a group
    float* matrix = reserve(matrix_, (line + extra) * line);
    const std::size_t group = static_cast<std::size_t>(kernels.panels) * lanes;
    const std::size_t groups = (line + group - 1) / group;
    std::vector<double> squares(groups);
    const auto width_of = [&](std::size_t index) { return std::min(group, line - index * group); };
    const auto begin_of = [&](std::size_t index) {
        return matrix + (line + extra) * index * group;
    };
    pool.run(static_cast<std::int64_t>(groups), [&](std::int64_t task, int) {
        const auto index = static_cast<std::size_t>(task);
        const std::size_t column = index * group, width = width_of(index);
        float* to = begin_of(index);
        for (std::size_t i = 0; i < line; ++i, to += width) {
            const std::size_t row = pairs ? pairs->channel(i, line) : i;
            const std::size_t known =
                row < channels && column < channels ? std::min(width, channels - column) : 0;
            const float* from = d + row * channels + column;
            for (std::size_t j = 0; j < known; ++j)
                to[j] = static_cast<float>(scale * static_cast<double>(from[j]));
            std::fill(to + known, to + width, 0.0f);
        }
        if (pairs) squares[index] = sum_of_squares(begin_of(index), line * width);
    });
    float inverse = 1.0f;
    if (pairs) {
        // A power of two brings D to the size of F.
        double sum = 0.0;
        for (double part : squares) sum += part;
        const double ratio = rms * static_cast<double>(channels) / std::sqrt(sum);
        int exponent = 0;
        if (std::isfinite(ratio) && ratio > 0.0)
            exponent = std::clamp(static_cast<int>(std::lround(std::log2(ratio))), -100, 100);
        inverse = std::ldexp(1.0f, -exponent);
        pool.run(static_cast<std::int64_t>(groups), [&](std::int64_t task, int) {
            const auto index = static_cast<std::size_t>(task);
            pairs->finish_matrix(begin_of(index), panels, static_cast<int>(width_of(index) / lanes),
                                 std::ldexp(1.0f, exponent));
        });
    }

    // Every value of the result is a sum of its own, so the chunks may follow the threads.
    const std::size_t fair = positions / (4 * static_cast<std::size_t>(pool.threads())) / 8 * 8;
    const std::size_t largest = std::clamp<std::size_t>((std::size_t{1} << 16) / line, 64, 1024);
    const std::size_t chunk = std::clamp<std::size_t>(fair, 32, largest);
    const std::size_t chunk_floats = line * chunk;
    const auto workers = static_cast<std::size_t>(pool.threads());
    const std::size_t x_x_floats = pairs ? pairs->sums * chunk : 0;
    float* x_x = pairs ? reserve(x_x_, x_x_floats * workers) : nullptr;
    float* chunks = nullptr;
    float* results = nullptr;
    if (!in_place) {
        chunks = reserve(chunks_, chunk_floats * workers);
        results = reserve(results_, chunk_floats * workers);
    }
    pool.run(static_cast<std::int64_t>((positions + chunk - 1) / chunk), [&](std::int64_t task,
                                                                             int worker) {
        const std::size_t begin = static_cast<std::size_t>(task) * chunk,
                          size = std::min(chunk, positions - begin);
        const auto apply = [&](const Panels& part, float* to, std::size_t stride, bool adds) {
            if (pairs) {
                pairs->apply(part, matrix, inverse,
                             x_x + x_x_floats * static_cast<std::size_t>(worker), to, stride, adds);
            } else {
                kernels.apply(part, matrix, to, stride, adds);
            }
        };
        if (in_place) {
            apply({f.data + begin * lanes, positions * lanes, size, panels},
                  out.data + begin * lanes, positions * lanes, add);
            return;
        }
        float* packed = chunks + chunk_floats * static_cast<std::size_t>(worker);
        float* result = results + chunk_floats * static_cast<std::size_t>(worker);
        kernels.pack(f, begin, size, packed);
        apply({packed, size * lanes, size, panels}, result, size * lanes, false);
        kernels.unpack(result, begin, size, out, add);
    });
}

void GramSums::add(const FeatureMap& part, GramProduct& product, float* scratch, ThreadPool& pool) {
    const auto count = static_cast<std::size_t>(part.channels) * part.channels;
    if (positions_ == 0.0) sums_.assign(count, 0.0);
    require(sums_.size() == count, "the parts of a map have one number of channels");
    product.gram(part, scratch, pool);
    const auto positions = static_cast<double>(part.positions());
    for (std::size_t i = 0; i < count; ++i) sums_[i] += positions * scratch[i];
    positions_ += positions;
}

void GramSums::read(float* gram) const {
    for (std::size_t i = 0; i < sums_.size(); ++i)
        gram[i] = static_cast<float>(sums_[i] / positions_);
}

}  // namespace fastsynth
