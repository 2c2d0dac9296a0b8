// Reading the input tiles of a convolution: a plain map, a masked cotangent, an upsampled gradient,
// or a sum of these.
//
// A reader is made for one channel block and yields values in two ways: `at(i, j)` relative to a
// tile origin set by `move`, for tiles that lie inside the picture (all offsets are compile-time
// multiples of the row length), and `bounded(y, x)` anywhere, zero outside. Tile origins have odd
// coordinates (tile * m - 1 with even m), which `UpsampleReader` relies on.
#pragma once

#include "bits.hpp"
#include "conv_kernels.hpp"
#include "winograd_transforms.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

/// Rows of a tile. Each has a pointer of its own, hidden from the compiler, which would otherwise
/// keep the address of every pixel in memory.
template <class T>
struct TileRows {
    void move(const T* first, std::ptrdiff_t stride) {
        for (int i = 0; i < most; ++i) row[i] = hidden(first + i * stride);
    }
    static constexpr int most = 8;
    const T* row[most] = {};
};

/// [H][W][B] as it is.
struct PlainReader {
    PlainReader(const ConvInput& input, int block, int height, int width)
        : height_(height),
          width_(width),
          map_(input.map + std::size_t(block) * height * width * lanes) {}

    /// Rows and columns below these may be read by `at`.
    int safe_height() const { return height_; }
    int safe_width() const { return width_; }
    FASTSYNTH_INLINE void move(int y, int x) {
        tile_.move(map_ + (std::ptrdiff_t(y) * width_ + x) * lanes, std::ptrdiff_t(width_) * lanes);
    }
    FASTSYNTH_INLINE Floats at(int i, int j) const { return load(tile_.row[i] + j * lanes); }
    Floats bounded(int y, int x) const {
        if (y < 0 || x < 0 || y >= height_ || x >= width_) return Floats{};
        return load(map_ + (std::size_t(y) * width_ + x) * lanes);
    }

  private:
    int height_, width_;
    const float* map_;
    TileRows<float> tile_;
};

/// bits & map: the cotangent of the deepest tap.
struct MaskedReader {
    MaskedReader(const ConvInput& input, int block, int height, int width)
        : plain_(input, block, height, width),
          width_(width),
          bits_(input.map_bits + std::size_t(block) * height * width * sizeof(Bits)) {}

    int safe_height() const { return plain_.safe_height(); }
    int safe_width() const { return plain_.safe_width(); }
    FASTSYNTH_INLINE void move(int y, int x) {
        plain_.move(y, x);
        constexpr std::ptrdiff_t bytes = sizeof(Bits);
        tile_.move(bits_ + (std::ptrdiff_t(y) * width_ + x) * bytes, width_ * bytes);
    }
    FASTSYNTH_INLINE Floats at(int i, int j) const {
        return select(load_bits(tile_.row[i], j), plain_.at(i, j));
    }
    Floats bounded(int y, int x) const {
        if (y < 0 || x < 0 || y >= plain_.safe_height() || x >= width_) return Floats{};
        return select(load_bits(bits_, std::size_t(y) * width_ + x), plain_.bounded(y, x));
    }

  private:
    PlainReader plain_;
    int width_;
    const std::uint8_t* bits_;
    TileRows<std::uint8_t> tile_;
};

/// route & upsample2(pooled): the gradient of pooling and the ReLU before it. An odd last row or
/// column has no pooled pixel.
struct UpsampleReader {
    UpsampleReader(const ConvInput& input, int block, int height, int width)
        : half_height_(height / 2),
          half_width_(width / 2),
          width_(width),
          pooled_(input.pooled + std::size_t(block) * (height / 2) * (width / 2) * lanes),
          bits_(input.route_bits + std::size_t(block) * height * width * sizeof(Bits)) {}

    int safe_height() const { return 2 * half_height_; }
    int safe_width() const { return 2 * half_width_; }
    FASTSYNTH_INLINE void move(int y, int x) {
        tile_.move(pooled_ + (std::ptrdiff_t(y >> 1) * half_width_ + (x >> 1)) * lanes,
                   std::ptrdiff_t(half_width_) * lanes);
        constexpr std::ptrdiff_t bytes = sizeof(Bits);
        tile_bits_.move(bits_ + (std::ptrdiff_t(y) * width_ + x) * bytes, width_ * bytes);
    }
    FASTSYNTH_INLINE Floats at(int i, int j) const {
        // y, x odd: row y + i lies in pooled row (y >> 1) + (i + 1) / 2.
        return select(load_bits(tile_bits_.row[i], j),
                      load(tile_.row[(i + 1) / 2] + (j + 1) / 2 * lanes));
    }
    Floats bounded(int y, int x) const {
        if (y < 0 || x < 0 || y >= safe_height() || x >= safe_width()) return Floats{};
        return select(load_bits(bits_, std::size_t(y) * width_ + x),
                      load(pooled_ + (std::size_t(y / 2) * half_width_ + x / 2) * lanes));
    }

  private:
    int half_height_, half_width_, width_;
    const float* pooled_;
    const std::uint8_t* bits_;
    TileRows<float> tile_;
    TileRows<std::uint8_t> tile_bits_;
};

/// Both: a tapped layer that is also pooled.
struct SumReader {
    SumReader(const ConvInput& input, int block, int height, int width)
        : masked_(input, block, height, width), upsampled_(input, block, height, width) {}

    int safe_height() const { return upsampled_.safe_height(); }
    int safe_width() const { return upsampled_.safe_width(); }
    FASTSYNTH_INLINE void move(int y, int x) {
        masked_.move(y, x);
        upsampled_.move(y, x);
    }
    FASTSYNTH_INLINE Floats at(int i, int j) const {
        return masked_.at(i, j) + upsampled_.at(i, j);
    }
    Floats bounded(int y, int x) const { return masked_.bounded(y, x) + upsampled_.bounded(y, x); }

  private:
    MaskedReader masked_;
    UpsampleReader upsampled_;
};

/// Calls work(reader) with the reader that this input needs.
template <class Work>
void with_reader(const ConvInput& input, int block, int height, int width, Work work) {
    if (!input.pooled) {
        if (input.map_bits) {
            work(MaskedReader(input, block, height, width));
        } else {
            work(PlainReader(input, block, height, width));
        }
    } else if (input.map) {
        work(SumReader(input, block, height, width));
    } else {
        work(UpsampleReader(input, block, height, width));
    }
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
