#include "fastsynth/compose/convolve.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "compose/rows.hpp"
#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/error.hpp"

namespace fastsynth::compose {
namespace {

constexpr int block_rows = ConvolveKernels::rows;

/// A kernel with as many zeros as this is summed tap by tap: that reads more, and multiplies less.
constexpr double sparse_share = 0.5;

/// What one task makes: bands of rows, wide enough that memory is read in long runs.
constexpr std::int64_t tile_height = 64;
constexpr std::int64_t tile_floats = 6144;

/// What is summed and written at once, within the first-level cache: whole blocks of the kernels,
/// and whole pixels of 1, 3 and 4 channels.
constexpr std::int64_t chunk_floats = 576;

std::ptrdiff_t round_up(std::ptrdiff_t n, std::ptrdiff_t unit) {
    return (n + unit - 1) / unit * unit;
}

/// The taps that are not 0, as places in a tile.
struct SparseTaps {
    SparseTaps(const Filter& filter, int channels, std::ptrdiff_t stride) {
        for (int i = 0; i < filter.height; ++i) {
            for (int j = 0; j < filter.width; ++j) {
                const float tap = filter.taps[static_cast<std::size_t>(i) * filter.width + j];
                if (tap == 0.0f) continue;
                values.push_back(tap);
                offsets.push_back(i * stride + static_cast<std::ptrdiff_t>(j) * channels);
            }
        }
    }
    std::vector<float> values;
    std::vector<std::ptrdiff_t> offsets;
};

bool is_sparse(const Filter& filter) {
    const auto zeros = std::count(filter.taps.begin(), filter.taps.end(), 0.0f);
    return zeros >= sparse_share * static_cast<double>(filter.taps.size());
}

void check(const Raster& in, const MutableRaster& out, const Filter& filter) {
    require(in.height == out.height && in.width == out.width && in.channels == out.channels &&
                in.sample == out.sample,
            "input and output differ in size, channels or samples");
    require(filter.height > 0 && filter.width > 0, "the kernel is empty");
    require(filter.anchor_y >= 0 && filter.anchor_y < filter.height && filter.anchor_x >= 0 &&
                filter.anchor_x < filter.width,
            "the anchor lies outside the kernel");
    const auto height = static_cast<std::size_t>(filter.height);
    const auto width = static_cast<std::size_t>(filter.width);
    require(!filter.terms.empty() || filter.taps.size() == height * width, "the kernel has ",
            filter.taps.size(), " taps, not ", height * width);
    for (const Separable& term : filter.terms)
        require(term.column.size() == height && term.row.size() == width,
                "a separable term does not have the kernel's size");
}

/// Whether bytes can be summed as 16-bit integers: whole taps, and no sum beyond 32767.
bool fits_shorts(const Raster& in, const Filter& filter, const Reading& reading) {
    if (in.sample != Sample::u8 || in.channels == 4 || reading.linear || !filter.terms.empty() ||
        is_sparse(filter))
        return false;
    double total = 0.0;
    for (float tap : filter.taps) {
        if (tap != std::nearbyint(tap)) return false;
        total += std::fabs(tap);
    }
    for (float value : reading.constant)
        if (value < 0.0f || value > 255.0f || value != std::nearbyint(value)) return false;
    return total * 255.0 <= 32767.0;
}

/// What the tasks share, and the scratch memory of each worker.
template <class Number>
class Convolution {
  public:
    Convolution(const Raster& in, const MutableRaster& out, const Filter& filter,
                const Reading& reading, int workers)
        : filter_(filter),
          height_(in.height),
          width_(in.width),
          channels_(in.channels),
          reader_(in, reading),
          writer_(out, reading, {filter.gain, filter.alpha_gain, filter.offset, filter.clip},
                  reader_),
          tile_width_(std::min<std::int64_t>(width_, tile_floats / channels_)),
          stride_(row_floats(tile_width_ + filter.width - 1)),
          between_stride_(row_floats(chunk_floats / channels_ + filter.width - 1)),
          sparse_(filter.terms.empty() && is_sparse(filter)),
          sparse_taps_(sparse_ ? SparseTaps(filter, channels_, stride_)
                               : SparseTaps(Filter{}, channels_, stride_)),
          taps_(filter.taps.begin(), filter.taps.end()),
          scratch_(static_cast<std::size_t>(workers)) {}

    bool finite() const { return reader_.finite(); }

    std::int64_t columns() const { return (width_ + tile_width_ - 1) / tile_width_; }
    std::int64_t tasks() const { return columns() * ((height_ + tile_height - 1) / tile_height); }

    void run(std::int64_t task, int worker) {
        Scratch& scratch = scratch_[static_cast<std::size_t>(worker)];
        // The last block may reach block_rows - 1 rows further; what it makes of them is dropped.
        const std::int64_t halo = filter_.height - 1;
        if (scratch.in.empty()) {
            const auto rows = static_cast<std::size_t>(tile_height + halo + block_rows);
            scratch.in.resize(rows * static_cast<std::size_t>(stride_));
            scratch.between.resize(static_cast<std::size_t>(block_rows * between_stride_));
            scratch.out.resize(static_cast<std::size_t>(block_rows * out_stride));
        }
        const std::int64_t y0 = task / columns() * tile_height;
        const std::int64_t x0 = task % columns() * tile_width_;
        const std::int64_t rows = std::min(tile_height, height_ - y0);
        const std::int64_t pixels = std::min(tile_width_, width_ - x0);
        std::int64_t have = 0;
        for (std::int64_t y = 0; y < rows; y += block_rows) {
            const std::int64_t made = std::min<std::int64_t>(block_rows, rows - y);
            // Rows are read just before they are used: they are still in the cache.
            for (; have < y + made + halo; ++have) {
                const std::int64_t begin = x0 - filter_.anchor_x;
                reader_.read(y0 + have - filter_.anchor_y, begin,
                             begin + pixels + filter_.width - 1,
                             scratch.in.data() + have * stride_);
            }
            const std::int64_t chunk = chunk_floats / channels_;
            for (std::int64_t x = 0; x < pixels; x += chunk) {
                const std::int64_t count = std::min(chunk, pixels - x);
                filter_block(scratch.in.data() + y * stride_ + x * channels_, count, scratch);
                for (std::int64_t r = 0; r < made; ++r)
                    writer_.write(y0 + y + r, x0 + x, count, scratch.out.data() + r * out_stride);
            }
        }
    }

  private:
    static constexpr std::ptrdiff_t out_stride = chunk_floats + 16;

    struct Scratch {
        Buffer<Number> in;       // (tile_height + halo + block_rows, stride)
        Buffer<Number> between;  // (block_rows, between_stride), columns of a separable kernel
        Buffer<Number> out;      // (block_rows, out_stride)
    };

    std::ptrdiff_t row_floats(std::int64_t pixels) const {
        // An odd number of cache lines: rows do not compete for the same places in the cache.
        return round_up(pixels * channels_ + 2 * ConvolveKernels::slack, 32) + 16;
    }

    void filter_block(const std::int16_t* in, std::int64_t pixels, Scratch& scratch) const {
        convolve_kernels().dense16(in, stride_, taps_.data(), filter_.height, filter_.width,
                                   channels_, scratch.out.data(), out_stride, pixels * channels_,
                                   false);
    }

    void filter_block(const float* in, std::int64_t pixels, Scratch& scratch) const {
        const ConvolveKernels& kernels = convolve_kernels();
        const std::ptrdiff_t n = pixels * channels_;
        float* out = scratch.out.data();
        if (sparse_) {
            const auto count = static_cast<int>(sparse_taps_.values.size());
            kernels.sparse(in, stride_, sparse_taps_.values.data(), sparse_taps_.offsets.data(),
                           count, out, out_stride, n);
        } else if (filter_.terms.empty()) {
            kernels.dense(in, stride_, taps_.data(), filter_.height, filter_.width, channels_, out,
                          out_stride, n, false);
        } else {
            bool add = false;
            const std::ptrdiff_t wide =
                n + static_cast<std::ptrdiff_t>(filter_.width - 1) * channels_;
            for (const Separable& term : filter_.terms) {
                float* between = scratch.between.data();
                kernels.dense(in, stride_, term.column.data(), filter_.height, 1, channels_,
                              between, between_stride_, wide, false);
                kernels.dense(between, between_stride_, term.row.data(), 1, filter_.width,
                              channels_, out, out_stride, n, add);
                add = true;
            }
        }
    }

    const Filter& filter_;
    const std::int64_t height_, width_;
    const int channels_;
    const RowReader reader_;
    const RowWriter writer_;
    const std::int64_t tile_width_;  // pixels
    const std::ptrdiff_t stride_;    // floats
    const std::ptrdiff_t between_stride_;
    const bool sparse_;
    const SparseTaps sparse_taps_;
    const std::vector<Number> taps_;
    std::vector<Scratch> scratch_;
};

template <class Number>
void run(const Raster& in, const MutableRaster& out, const Filter& filter, const Reading& reading,
         ThreadPool& pool) {
    Convolution<Number> work(in, out, filter, reading, pool.threads());
    pool.run(work.tasks(), [&](std::int64_t task, int worker) { work.run(task, worker); });
    require(work.finite(),
            "the image holds values that are NaN, infinite or beyond 3e22; expected smaller ones");
}

}  // namespace

void convolve(const Raster& in, const MutableRaster& out, const Filter& filter,
              const Reading& reading, ThreadPool& pool) {
    check(in, out, filter);
    if (fits_shorts(in, filter, reading))
        run<std::int16_t>(in, out, filter, reading, pool);
    else
        run<float>(in, out, filter, reading, pool);
}

}  // namespace fastsynth::compose
