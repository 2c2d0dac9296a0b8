// Rows of pixels in and out of working units (see Reading in compose/raster.hpp).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "fastsynth/compose/raster.hpp"
#include "fastsynth/compose/samples.hpp"

namespace fastsynth::compose {

class RowReader {
  public:
    RowReader(const Raster& raster, const Reading& reading);

    /// Pixels [begin, end) of row y as floats, `channels` each; all may lie outside the image.
    void read(std::int64_t y, std::int64_t begin, std::int64_t end, float* out) const;

    /// The same of bytes as integers; the constant must be whole.
    void read(std::int64_t y, std::int64_t begin, std::int64_t end, std::int16_t* out) const;

    /// What lies outside where that is a constant.
    const std::array<float, max_channels>& constant() const { return constant_; }

    /// Whether all floats that were read so far are finite.
    bool finite() const { return finite_.load(std::memory_order_relaxed); }

    /// Alpha of one pixel inside the image, in working units.
    float alpha_at(std::int64_t y, std::int64_t x) const;

  private:
    template <class Number>
    void read_as(std::int64_t y, std::int64_t begin, std::int64_t end, Number* out) const;
    void decode(const void* in, float* out, std::int64_t pixels) const;
    void decode(const void* in, std::int16_t* out, std::int64_t pixels) const;
    void finish(float* out, std::int64_t pixels) const;

    const Raster raster_;
    const Reading reading_;
    const SampleKernels& kernels_;
    const float* curve_ = nullptr;  // linear light by sample, for integers
    std::array<float, max_channels> constant_{};
    mutable std::atomic<bool> finite_{true};  // of what tasks on several threads read
};

/// What becomes of sums: gain x + offset, out of working units.
struct Finish {
    float gain = 1.0f, alpha_gain = 1.0f, offset = 0.0f;
    bool clip = true;
};

class RowWriter {
  public:
    /// `source`: where alpha comes from that stays (Alpha::keep), of the same size; else unused.
    RowWriter(const MutableRaster& raster, const Reading& reading, const Finish& finish,
              const RowReader& source);

    /// Writes pixels from column x of row y on; uses `in` up.
    void write(std::int64_t y, std::int64_t x, std::int64_t pixels, float* in) const;

    /// The same from sums of bytes as integers.
    void write(std::int64_t y, std::int64_t x, std::int64_t pixels, std::int16_t* in) const;

  private:
    void finish_alpha(std::int64_t y, std::int64_t x, std::int64_t pixels, float* in) const;
    void encode(const float* in, void* out, std::size_t n, float gain, float offset) const;

    const MutableRaster raster_;
    const Reading reading_;
    const Finish finish_;
    const RowReader& source_;
    const SampleKernels& kernels_;
    const float unit_;  // white in working units
};

}  // namespace fastsynth::compose
