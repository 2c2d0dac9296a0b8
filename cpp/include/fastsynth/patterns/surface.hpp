// Surface: the picture that a pattern is drawn on, and what every pattern shares to write to it.
//
// Patterns compute linear light, a row or a band at a time, so that averages over a pixel's area
// are right; `encode_row` turns it into sRGB samples of the caller's type. No picture of floats is
// ever held whole.
#pragma once

#include <cstdint>
#include <vector>

#include "fastsynth/common/parallel.hpp"

namespace fastsynth {

enum class SampleType { uint8, uint16, float32 };

/// Interleaved RGB, height × width × 3; the memory is the caller's.
struct Surface {
    void* data = nullptr;
    SampleType type = SampleType::uint8;
    std::int64_t height = 0;
    std::int64_t width = 0;
};

/// One colour in linear light.
struct Color {
    float r = 0, g = 0, b = 0;
};

inline Color mix(Color a, Color b, float t) {
    return {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

/// Colours at equal distances over t in [0, 1], in linear light.
class Palette {
  public:
    /// values: count × 3, count ≥ 1.
    Palette(const float* values, std::size_t count);

    /// Between the two nearest colours; t is cut to [0, 1], not a number counts as 0.
    Color at(double t) const;

    std::size_t size() const { return colors_.size(); }
    const Color& operator[](std::size_t i) const { return colors_[i]; }

  private:
    std::vector<Color> colors_;
};

/// Writes `count` pixels of linear light (interleaved RGB) at (x, y) as sRGB (IEC 61966-2-1), cut
/// to [0, 1] and rounded to the nearest sample; not a number becomes 0.
void encode_row(const float* linear, std::int64_t count, const Surface& surface, std::int64_t x,
                std::int64_t y);

/// Writes pixels whose colours are those of a table: the samples are encoded once.
class IndexPainter {
  public:
    IndexPainter(const Palette& palette, const Surface& surface);

    /// Writes one row from indices into the palette.
    void write_row(const std::uint16_t* indices, std::int64_t y) const;

    /// Copies surface row `from` to row `to`.
    void repeat_row(std::int64_t from, std::int64_t to) const;

  private:
    Surface surface_;
    std::vector<std::uint8_t> bytes_;  // the samples of each palette colour, one after the other
    std::size_t pixel_bytes_;
};

}  // namespace fastsynth
