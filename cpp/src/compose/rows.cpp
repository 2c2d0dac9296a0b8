#include "compose/rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace fastsynth::compose {
namespace {

/// Linear light of each of `count` samples, 0 to white.
std::vector<float> linear_table(int count) {
    std::vector<float> table(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        const double x = static_cast<double>(i) / (count - 1);
        table[static_cast<std::size_t>(i)] =
            static_cast<float>(x <= 0.04045 ? x / 12.92 : std::pow((x + 0.055) / 1.055, 2.4));
    }
    return table;
}

const float* linear_curve(Sample sample) {
    static const std::vector<float> bytes = linear_table(256);
    if (sample == Sample::u8) return bytes.data();
    if (sample == Sample::f32) return nullptr;
    static const std::vector<float> words = linear_table(65536);
    return words.data();
}

template <class T>
void look_up(const float* curve, const T* in, float* out, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = curve[in[i]];
}

}  // namespace

RowReader::RowReader(const Raster& raster, const Reading& reading)
    : raster_(raster), reading_(reading), kernels_(sample_kernels()) {
    if (reading.linear) curve_ = linear_curve(raster.sample);
    constant_ = reading.constant;
    if (reading.linear) {
        const float top = top_of(raster.sample);
        for (float& value : constant_) value /= top;
        const float alpha = constant_[3];
        kernels_.to_linear(constant_.data(), constant_.data(), constant_.size());
        if (raster.channels == 4) constant_[3] = alpha;
    }
    finish(constant_.data(), 1);
}

void RowReader::read(std::int64_t y, std::int64_t begin, std::int64_t end, float* out) const {
    read_as(y, begin, end, out);
}

void RowReader::read(std::int64_t y, std::int64_t begin, std::int64_t end,
                     std::int16_t* out) const {
    read_as(y, begin, end, out);
}

template <class Number>
void RowReader::read_as(std::int64_t y, std::int64_t begin, std::int64_t end, Number* out) const {
    const int channels = raster_.channels;
    const std::int64_t row = border_index(y, raster_.height, reading_.border);
    const auto outside = [&](std::int64_t from, std::int64_t to) {
        std::int64_t before = -1;  // the column that the pixel before shows
        for (std::int64_t x = from; x < to; ++x) {
            const std::int64_t column =
                row < 0 ? -1 : border_index(x, raster_.width, reading_.border);
            Number* pixel = out + (x - begin) * channels;
            if (column < 0)
                for (int c = 0; c < channels; ++c)
                    pixel[c] = static_cast<Number>(constant_[static_cast<std::size_t>(c)]);
            else if (column == before)
                std::copy_n(pixel - channels, channels, pixel);
            else
                decode(raster_.at(row, column), pixel, 1);
            before = column;
        }
    };
    if (row < 0) return outside(begin, end);
    const std::int64_t first = std::clamp<std::int64_t>(0, begin, end);
    const std::int64_t last = std::clamp<std::int64_t>(raster_.width, first, end);
    outside(begin, first);
    if (last > first)
        decode(raster_.at(row, first), out + (first - begin) * channels, last - first);
    outside(last, end);
}

float RowReader::alpha_at(std::int64_t y, std::int64_t x) const {
    const void* pixel = raster_.at(y, x);
    const float scale = reading_.linear ? 1.0f / top_of(raster_.sample) : 1.0f;
    switch (raster_.sample) {
        case Sample::u8:
            return scale * static_cast<const std::uint8_t*>(pixel)[3];
        case Sample::u16:
            return scale * static_cast<const std::uint16_t*>(pixel)[3];
        default:
            return scale * static_cast<const float*>(pixel)[3];
    }
}

void RowReader::decode(const void* in, float* out, std::int64_t pixels) const {
    const std::int64_t n = pixels * raster_.channels;
    const auto count = static_cast<std::size_t>(n);
    const auto* bytes = static_cast<const std::uint8_t*>(in);
    const auto* words = static_cast<const std::uint16_t*>(in);
    const auto* floats = static_cast<const float*>(in);
    bool is_finite = true;
    if (!reading_.linear) {
        if (raster_.sample == Sample::u8)
            kernels_.decode_u8(bytes, out, count);
        else if (raster_.sample == Sample::u16)
            kernels_.decode_u16(words, out, count);
        else
            is_finite = kernels_.decode_f32(floats, out, count);
    } else {
        if (raster_.sample == Sample::u8)
            look_up(curve_, bytes, out, n);
        else if (raster_.sample == Sample::u16)
            look_up(curve_, words, out, n);
        else
            is_finite = kernels_.decode_f32(floats, out, count);
        if (raster_.sample == Sample::f32) kernels_.to_linear(out, out, count);
        if (raster_.channels == 4) {  // alpha knows no curve
            const float scale = 1.0f / top_of(raster_.sample);
            for (std::int64_t i = 3; i < n; i += 4)
                out[i] = raster_.sample == Sample::u8    ? scale * bytes[i]
                         : raster_.sample == Sample::u16 ? scale * words[i]
                                                         : floats[i];
        }
    }
    if (!is_finite) finite_.store(false, std::memory_order_relaxed);
    finish(out, pixels);
}

void RowReader::decode(const void* in, std::int16_t* out, std::int64_t pixels) const {
    kernels_.decode_u8_to_i16(static_cast<const std::uint8_t*>(in), out,
                              static_cast<std::size_t>(pixels * raster_.channels));
}

void RowReader::finish(float* out, std::int64_t pixels) const {
    if (raster_.channels != 4 || reading_.alpha != Alpha::premultiply) return;
    const float unit = reading_.linear ? 1.0f : top_of(raster_.sample);
    for (std::int64_t i = 0; i < 4 * pixels; i += 4) {
        const float alpha = out[i + 3] / unit;  // a division: opaque is exactly 1
        out[i] *= alpha;
        out[i + 1] *= alpha;
        out[i + 2] *= alpha;
    }
}

RowWriter::RowWriter(const MutableRaster& raster, const Reading& reading, const Finish& finish,
                     const RowReader& source)
    : raster_(raster),
      reading_(reading),
      finish_(finish),
      source_(source),
      kernels_(sample_kernels()),
      unit_(reading.linear ? 1.0f : top_of(raster.sample)) {}

void RowWriter::write(std::int64_t y, std::int64_t x, std::int64_t pixels, float* in) const {
    const auto n = static_cast<std::size_t>(pixels * raster_.channels);
    const bool plain = raster_.channels != 4 && !reading_.linear;
    if (plain) return encode(in, raster_.at(y, x), n, finish_.gain, finish_.offset);
    if (raster_.channels == 4)
        finish_alpha(y, x, pixels, in);
    else
        for (std::size_t i = 0; i < n; ++i) in[i] = in[i] * finish_.gain + finish_.offset;
    if (reading_.linear) {
        std::vector<float> alpha;
        if (raster_.channels == 4)
            for (std::size_t i = 3; i < n; i += 4) alpha.push_back(in[i]);
        kernels_.to_srgb(in, in, n);
        for (std::size_t i = 0; i < alpha.size(); ++i) in[4 * i + 3] = alpha[i];
    }
    encode(in, raster_.at(y, x), n, top_of(raster_.sample) / unit_, 0.0f);
}

void RowWriter::write(std::int64_t y, std::int64_t x, std::int64_t pixels, std::int16_t* in) const {
    const auto n = static_cast<std::size_t>(pixels * raster_.channels);
    auto* out = static_cast<std::uint8_t*>(raster_.at(y, x));
    if (finish_.gain == 1.0f && finish_.offset == 0.0f) {
        kernels_.encode_i16_to_u8(in, out, n);
        return;
    }
    constexpr std::size_t run = 256;
    float values[run];
    for (std::size_t i = 0; i < n; i += run) {
        const std::size_t count = std::min(run, n - i);
        for (std::size_t k = 0; k < count; ++k) values[k] = in[i + k];
        kernels_.encode_u8(values, finish_.gain, finish_.offset, out + i, count);
    }
}

void RowWriter::finish_alpha(std::int64_t y, std::int64_t x, std::int64_t pixels, float* in) const {
    for (std::int64_t i = 0; i < pixels; ++i) {
        float* pixel = in + 4 * i;
        float weight = finish_.gain;
        if (reading_.alpha == Alpha::premultiply) {
            const float alpha = std::clamp(pixel[3] * finish_.alpha_gain, 0.0f, unit_);
            weight = alpha > 0.0f ? finish_.gain / (alpha / unit_) : 0.0f;
            pixel[3] = alpha;
        } else if (reading_.alpha == Alpha::keep) {
            pixel[3] = source_.alpha_at(y, x + i);
        } else {
            pixel[3] *= finish_.gain;
        }
        for (int c = 0; c < 3; ++c) pixel[c] = pixel[c] * weight + finish_.offset;
    }
}

void RowWriter::encode(const float* in, void* out, std::size_t n, float gain, float offset) const {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    switch (raster_.sample) {
        case Sample::u8:
            return kernels_.encode_u8(in, gain, offset, static_cast<std::uint8_t*>(out), n);
        case Sample::u16:
            return kernels_.encode_u16(in, gain, offset, static_cast<std::uint16_t*>(out), n);
        case Sample::f32:
            return kernels_.encode_f32(in, gain, offset, finish_.clip ? 0.0f : -infinity,
                                       finish_.clip ? 1.0f : infinity, static_cast<float*>(out), n);
    }
}

}  // namespace fastsynth::compose
