#include "fastsynth/compose/affine.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "compose/rows.hpp"
#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/error.hpp"

namespace fastsynth::compose {
namespace {

constexpr double pi = 3.14159265358979323846;

/// Side in pixels of what one task makes, and what its patch of the source may have (2 MiB, half
/// of which a rotation leaves untouched) before tasks become smaller.
constexpr int tile_side = 64;
constexpr double patch_pixels = 1 << 17;

/// Coordinates beyond this cannot be told apart well enough.
constexpr double farthest = 1e9;

double sinc(double x) { return x == 0.0 ? 1.0 : std::sin(pi * x) / (pi * x); }

/// The interpolation's kernel: Keys' cubic convolution with a = -1/2; Lanczos with 3 lobes.
double kernel_at(Interpolation interpolation, double x) {
    x = std::fabs(x);
    switch (interpolation) {
        case Interpolation::bilinear:
            return std::max(0.0, 1.0 - x);
        case Interpolation::bicubic:
            if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
            return x < 2.0 ? ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0 : 0.0;
        case Interpolation::lanczos:
            return x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
        default:
            return x <= 0.5 ? 1.0 : 0.0;
    }
}

double radius_of(Interpolation interpolation) {
    switch (interpolation) {
        case Interpolation::bicubic:
            return 2.0;
        case Interpolation::lanczos:
            return 3.0;
        default:
            return 1.0;
    }
}

/// The weights along one axis, for a kernel that is `width` times as wide.
struct Weights {
    /// `repeat`: how often each weight stands in the table; `unit`: rows are padded to a multiple.
    Weights(Interpolation interpolation, double width, int repeat, int unit) {
        const int reach = static_cast<int>(std::ceil(radius_of(interpolation) * width));
        table.taps = 2 * reach;
        table.stride = (table.taps * repeat + unit - 1) / unit * unit;
        values.resize(static_cast<std::size_t>(WeightTable::phases + 2) * table.stride);
        std::vector<double> row(static_cast<std::size_t>(table.taps));
        for (int phase = 0; phase < WeightTable::phases + 2; ++phase) {
            const double fraction = static_cast<double>(phase) / WeightTable::phases;
            double sum = 0.0;
            for (int tap = 0; tap < table.taps; ++tap) {
                auto& weight = row[static_cast<std::size_t>(tap)];
                weight = kernel_at(interpolation, (tap - reach + 1 - fraction) / width);
                sum += weight;
            }
            for (int i = 0; i < table.taps * repeat; ++i)
                values[static_cast<std::size_t>(phase * table.stride + i)] =
                    static_cast<float>(row[static_cast<std::size_t>(i / repeat)] / sum);
        }
        table.weights = values.data();
    }
    int before() const { return table.taps / 2 - 1; }  // taps on the lower side of a coordinate

    Buffer<float> values;
    WeightTable table;
};

double widening(const AffineSettings& settings, int row) {
    const double scale = std::hypot(settings.map[3 * row], settings.map[3 * row + 1]);
    const bool plain = !settings.antialias || settings.interpolation == Interpolation::nearest;
    return plain || scale < 1.0 + 1e-9 ? 1.0 : scale;
}

/// Reading with the constant out of play where the edge is mixed by coverage.
Reading reading_of(const AffineSettings& settings, Reading reading) {
    if (reading.border == Border::constant && settings.interpolation != Interpolation::nearest)
        reading.border = Border::replicate;
    return reading;
}

class AffineWork {
  public:
    AffineWork(const Raster& in, const MutableRaster& out, const AffineSettings& settings,
               const Reading& reading, int workers)
        : out_(out),
          map_(settings.map),
          interpolation_(settings.interpolation),
          mixes_(reading.border == Border::constant && interpolation_ != Interpolation::nearest),
          widths_{widening(settings, 0), widening(settings, 1)},
          ends_{static_cast<double>(in.width), static_cast<double>(in.height)},
          reader_(in, reading_of(settings, reading)),
          writer_(out, reading, {1.0f, 1.0f, 0.0f, settings.clip}, reader_),
          along_x_(settings.interpolation, widening(settings, 0), 4, 16),
          along_y_(settings.interpolation, widening(settings, 1), 1, 1),
          plain_(along_x_.table.taps == 2 && along_y_.table.taps == 2),
          scratch_(static_cast<std::size_t>(workers)) {
        while (side_ > 1 && patch_size(side_) > patch_pixels) side_ /= 2;
    }

    std::int64_t columns() const { return (out_.width + side_ - 1) / side_; }
    std::int64_t tasks() const { return columns() * ((out_.height + side_ - 1) / side_); }

    void run(std::int64_t task, int worker) {
        Scratch& scratch = scratch_[static_cast<std::size_t>(worker)];
        const std::int64_t x0 = task % columns() * side_, y0 = task / columns() * side_;
        const int width = static_cast<int>(std::min<std::int64_t>(side_, out_.width - x0));
        const int height = static_cast<int>(std::min<std::int64_t>(side_, out_.height - y0));
        const auto [outside, inside] = mixes_ ? where(x0, y0, width, height) : Where{false, true};
        const Patch patch = outside ? Patch{} : read_patch(x0, y0, width, height, scratch);
        const AffineKernels& kernels = affine_kernels();
        std::int32_t places[tile_side];
        float fraction_x[tile_side], fraction_y[tile_side];
        float row[4 * tile_side + 4];
        float narrow[4 * tile_side + 4];
        // Coordinates are rounded for the nearest, else those of the first tap.
        const bool nearest = interpolation_ == Interpolation::nearest;
        const double shift_x = nearest ? 0.5 : -along_x_.before();
        const double shift_y = nearest ? 0.5 : -along_y_.before();
        for (int y = 0; y < height; ++y) {
            if (outside) {
                for (int i = 0; i < width; ++i)
                    std::copy_n(reader_.constant().data(), out_.channels,
                                narrow + i * out_.channels);
                writer_.write(y0 + y, x0, width, narrow);
                continue;
            }
            const double at_x = map_[0] * x0 + map_[1] * (y0 + y) + map_[2] - patch.x + shift_x;
            const double at_y = map_[3] * x0 + map_[4] * (y0 + y) + map_[5] - patch.y + shift_y;
            kernels.locate(at_x, at_y, map_[0], map_[3], width, patch.stride, places, fraction_x,
                           fraction_y);
            if (nearest)
                kernels.nearest(patch.pixels, places, width, row);
            else if (plain_)
                kernels.bilinear(patch.pixels, patch.stride, places, fraction_x, fraction_y, width,
                                 row);
            else
                kernels.weighted(patch.pixels, patch.stride, places, fraction_x, fraction_y, width,
                                 along_x_.table, along_y_.table, row);
            if (!inside) mix(x0, y0 + y, width, row);
            float* pixels = row;
            if (out_.channels != 4) {
                kernels.narrow(row, out_.channels, narrow, width);
                pixels = narrow;
            }
            writer_.write(y0 + y, x0, width, pixels);
        }
    }

  private:
    struct Scratch {
        std::vector<float> patch, row;
    };
    struct Patch {
        const float* pixels;
        int stride;         // floats
        std::int64_t x, y;  // of its first pixel in the source
    };

    /// Least and greatest source coordinate (row 0: x, row 1: y) of a tile.
    void bounds(int row, std::int64_t x0, std::int64_t y0, int width, int height, double& low,
                double& high) const {
        const double a = map_[3 * row], b = map_[3 * row + 1];
        const double corner = a * x0 + b * y0 + map_[3 * row + 2];
        const double right = a * (width - 1), down = b * (height - 1);
        low = corner + std::min(right, 0.0) + std::min(down, 0.0);
        high = corner + std::max(right, 0.0) + std::max(down, 0.0);
    }

    struct Where {
        bool outside, inside;  // wholly; a tile on the edge is neither
    };

    /// The share of the kernel's width at a coordinate that lies within the image.
    double covered(int axis, double at) const {
        const double low = (at + 0.5) / widths_[axis] + 0.5;
        const double high = (ends_[axis] - 0.5 - at) / widths_[axis] + 0.5;
        return std::clamp(std::min(low, high), 0.0, 1.0);
    }

    Where where(std::int64_t x0, std::int64_t y0, int width, int height) const {
        Where result{false, true};
        for (int axis = 0; axis < 2; ++axis) {
            double low, high;
            bounds(axis, x0, y0, width, height, low, high);
            if (covered(axis, low) < 1.0 || covered(axis, high) < 1.0) result.inside = false;
            const double reach = 0.5 * widths_[axis];
            if (high <= -0.5 - reach || low >= ends_[axis] - 0.5 + reach) result.outside = true;
        }
        return result;
    }

    /// Lays a row of pixels on the constant.
    void mix(std::int64_t x0, std::int64_t y, int width, float* row) const {
        const auto& constant = reader_.constant();
        for (int i = 0; i < width; ++i) {
            const double x = static_cast<double>(x0 + i), at_y = static_cast<double>(y);
            const auto part =
                static_cast<float>(covered(0, map_[0] * x + map_[1] * at_y + map_[2]) *
                                   covered(1, map_[3] * x + map_[4] * at_y + map_[5]));
            for (int c = 0; c < out_.channels; ++c) {
                float& value = row[4 * i + c];
                const float under = constant[static_cast<std::size_t>(c)];
                value = part * value + (1.0f - part) * under;
            }
        }
    }

    double patch_size(int side) const {
        double low, high, size = 1.0;
        for (int row = 0; row < 2; ++row) {
            bounds(row, 0, 0, side, side, low, high);
            size *= high - low + (row ? along_y_ : along_x_).table.taps + 4;
        }
        return size;
    }

    Patch read_patch(std::int64_t x0, std::int64_t y0, int width, int height,
                     Scratch& scratch) const {
        double low_x, high_x, low_y, high_y;
        bounds(0, x0, y0, width, height, low_x, high_x);
        bounds(1, x0, y0, width, height, low_y, high_y);
        // One pixel more on each side: rounding may bring a coordinate across a whole number.
        const int reach_x = along_x_.before() + 2, reach_y = along_y_.before() + 2;
        const auto x = static_cast<std::int64_t>(std::floor(low_x)) - reach_x;
        const auto y = static_cast<std::int64_t>(std::floor(low_y)) - reach_y;
        const auto end_x = static_cast<std::int64_t>(std::floor(high_x)) + reach_x + 2;
        const auto end_y = static_cast<std::int64_t>(std::floor(high_y)) + reach_y + 2;
        const std::int64_t pixels = end_x - x, rows = end_y - y;
        // 4 pixels more: the weighted sum reads whole groups of 4, the rest with weight 0.
        const std::int64_t stride = 4 * (pixels + 4);
        require(stride * rows < std::int64_t{1} << 31, "one pixel of the result covers ", pixels,
                " x ", rows, " pixels of the source: shrink in several steps");
        const auto size = static_cast<std::size_t>(stride * rows + 16);
        if (scratch.patch.size() < size) scratch.patch.resize(size);
        scratch.row.resize(static_cast<std::size_t>(4 * pixels + 4));
        for (std::int64_t r = 0; r < rows; ++r) {
            float* target = scratch.patch.data() + r * stride;
            if (out_.channels == 4) {
                reader_.read(y + r, x, end_x, target);
            } else {
                reader_.read(y + r, x, end_x, scratch.row.data());
                affine_kernels().widen(scratch.row.data(), out_.channels, target, pixels);
            }
            std::fill_n(target + 4 * pixels, 16, 0.0f);
        }
        return {scratch.patch.data(), static_cast<int>(stride), x, y};
    }

    const MutableRaster out_;
    const std::array<double, 6> map_;
    const Interpolation interpolation_;
    const bool mixes_;                    // across the edge with the constant
    const std::array<double, 2> widths_;  // of the kernel, along x and y
    const std::array<double, 2> ends_;    // width and height of the source
    const RowReader reader_;
    const RowWriter writer_;
    const Weights along_x_, along_y_;
    const bool plain_;  // bilinear, not widened
    int side_ = tile_side;
    std::vector<Scratch> scratch_;
};

}  // namespace

void affine(const Raster& in, const MutableRaster& out, const AffineSettings& settings,
            const Reading& reading, ThreadPool& pool) {
    require(in.channels == out.channels && in.sample == out.sample,
            "input and output differ in channels or samples");
    for (int row = 0; row < 2; ++row) {
        const double* m = settings.map.data() + 3 * row;
        const double reach = std::fabs(m[0]) * static_cast<double>(out.width) +
                             std::fabs(m[1]) * static_cast<double>(out.height) + std::fabs(m[2]);
        require(reach < farthest, "the map leads ", reach, " pixels away from the source");
    }
    AffineWork work(in, out, settings, reading, pool.threads());
    pool.run(work.tasks(), [&](std::int64_t task, int worker) { work.run(task, worker); });
}

}  // namespace fastsynth::compose
