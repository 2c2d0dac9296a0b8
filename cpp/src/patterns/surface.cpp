#include "fastsynth/patterns/surface.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "fastsynth/common/error.hpp"

namespace fastsynth {
namespace {

double srgb_decoded(double value) {
    return value <= 0.04045 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4);
}

float srgb_encoded(float linear) {
    if (!(linear > 0.0f)) return 0.0f;
    if (linear >= 1.0f) return 1.0f;
    return linear <= 0.0031308f ? linear * 12.92f : 1.055f * std::pow(linear, 1.0f / 2.4f) - 0.055f;
}

/// Exact rounding to 8 bits without a power function: a table over √linear gives the sample or a
/// neighbour of it, and the thresholds between samples decide.
class ByteEncoder {
  public:
    ByteEncoder() {
        for (int i = 0; i <= 255; ++i)
            thresholds_[static_cast<std::size_t>(i)] =
                i == 0 ? -1.0f : static_cast<float>(srgb_decoded((i - 0.5) / 255));
        thresholds_[256] = 2.0f;
        for (std::size_t i = 0; i < table_.size(); ++i) {
            const float root = static_cast<float>(i) / static_cast<float>(table_.size() - 1);
            table_[i] = static_cast<std::uint8_t>(std::lround(255 * srgb_encoded(root * root)));
        }
    }

    std::uint8_t operator()(float linear) const {
        if (!(linear > 0.0f)) return 0;
        if (linear >= 1.0f) return 255;
        const float scale = static_cast<float>(table_.size() - 1);
        std::size_t guess = table_[static_cast<std::size_t>(std::sqrt(linear) * scale + 0.5f)];
        while (linear >= thresholds_[guess + 1]) ++guess;
        while (linear < thresholds_[guess]) --guess;
        return static_cast<std::uint8_t>(guess);
    }

  private:
    std::array<float, 257> thresholds_;
    std::array<std::uint8_t, 2048> table_;
};

const ByteEncoder& byte_encoder() {
    static const ByteEncoder encoder;
    return encoder;
}

std::size_t sample_bytes(SampleType type) {
    return type == SampleType::uint8 ? 1 : type == SampleType::uint16 ? 2 : 4;
}

}  // namespace

Palette::Palette(const float* values, std::size_t count) {
    require(count >= 1, "a palette needs at least one colour");
    colors_.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
        colors_.push_back({values[3 * i], values[3 * i + 1], values[3 * i + 2]});
}

Color Palette::at(double t) const {
    if (!(t > 0)) return colors_.front();
    if (t >= 1) return colors_.back();
    const double place = t * static_cast<double>(colors_.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const Color& first = colors_[below];
    const Color& second = colors_[std::min(below + 1, colors_.size() - 1)];
    return mix(first, second, static_cast<float>(place - static_cast<double>(below)));
}

void encode_row(const float* linear, std::int64_t count, const Surface& surface, std::int64_t x,
                std::int64_t y) {
    const std::int64_t samples = 3 * count;
    const std::int64_t start = 3 * (y * surface.width + x);
    switch (surface.type) {
        case SampleType::uint8: {
            const ByteEncoder& encode = byte_encoder();
            auto* out = static_cast<std::uint8_t*>(surface.data) + start;
            for (std::int64_t i = 0; i < samples; ++i) out[i] = encode(linear[i]);
            break;
        }
        case SampleType::uint16: {
            auto* out = static_cast<std::uint16_t*>(surface.data) + start;
            for (std::int64_t i = 0; i < samples; ++i)
                out[i] = static_cast<std::uint16_t>(65535.0f * srgb_encoded(linear[i]) + 0.5f);
            break;
        }
        case SampleType::float32: {
            auto* out = static_cast<float*>(surface.data) + start;
            for (std::int64_t i = 0; i < samples; ++i) out[i] = srgb_encoded(linear[i]);
            break;
        }
    }
}

IndexPainter::IndexPainter(const Palette& palette, const Surface& surface)
    : surface_(surface),
      bytes_(palette.size() * 3 * sample_bytes(surface.type)),
      pixel_bytes_(3 * sample_bytes(surface.type)) {
    const Surface colors{bytes_.data(), surface.type, 1, static_cast<std::int64_t>(palette.size())};
    for (std::size_t i = 0; i < palette.size(); ++i) {
        const float linear[3] = {palette[i].r, palette[i].g, palette[i].b};
        encode_row(linear, 1, colors, static_cast<std::int64_t>(i), 0);
    }
}

void IndexPainter::write_row(const std::uint16_t* indices, std::int64_t y) const {
    auto* out = static_cast<std::uint8_t*>(surface_.data) +
                static_cast<std::size_t>(y * surface_.width) * pixel_bytes_;
    const std::uint8_t* colors = bytes_.data();
    const auto copy = [&](auto size) {
        for (std::int64_t x = 0; x < surface_.width; ++x)
            std::memcpy(out + x * static_cast<std::int64_t>(size()),
                        colors + indices[x] * std::size_t(size()), size());
    };
    // Sizes known to the compiler: each copy is a few moves.
    if (pixel_bytes_ == 3) copy(std::integral_constant<std::size_t, 3>{});
    if (pixel_bytes_ == 6) copy(std::integral_constant<std::size_t, 6>{});
    if (pixel_bytes_ == 12) copy(std::integral_constant<std::size_t, 12>{});
}

void IndexPainter::repeat_row(std::int64_t from, std::int64_t to) const {
    const std::size_t bytes = static_cast<std::size_t>(surface_.width) * pixel_bytes_;
    auto* base = static_cast<std::uint8_t*>(surface_.data);
    std::memcpy(base + static_cast<std::size_t>(to) * bytes,
                base + static_cast<std::size_t>(from) * bytes, bytes);
}

}  // namespace fastsynth
