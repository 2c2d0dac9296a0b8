#include "fastsynth/compose/blend.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/kernel_set.hpp"
#include "fastsynth/compose/samples.hpp"

namespace fastsynth {

namespace portable {
extern const BlendTables blend_table;
}
#ifdef FASTSYNTH_X86
namespace avx2 {
extern const BlendTables blend_table;
}
namespace avx512 {
extern const BlendTables blend_table;
}
#endif

namespace {

const BlendTables& tables() {
#ifdef FASTSYNTH_X86
    static const BlendTables& table =
        choose(portable::blend_table, avx2::blend_table, avx512::blend_table);
    return table;
#else
    return portable::blend_table;
#endif
}

const BlendKernels<std::uint8_t>& kernels(std::uint8_t) { return tables().bytes; }
const BlendKernels<std::uint16_t>& kernels(std::uint16_t) { return tables().words; }
const BlendKernels<float>& kernels(float) { return tables().floats; }

struct NamedMode {
    const char* name;
    BlendMode mode;
};
constexpr NamedMode modes[] = {
    {"normal", BlendMode::normal},
    {"multiply", BlendMode::multiply},
    {"screen", BlendMode::screen},
    {"overlay", BlendMode::overlay},
    {"darken", BlendMode::darken},
    {"lighten", BlendMode::lighten},
    {"color-dodge", BlendMode::color_dodge},
    {"color-burn", BlendMode::color_burn},
    {"hard-light", BlendMode::hard_light},
    {"soft-light", BlendMode::soft_light},
    {"difference", BlendMode::difference},
    {"exclusion", BlendMode::exclusion},
    {"add", BlendMode::add},
    {"subtract", BlendMode::subtract},
    {"hue", BlendMode::hue},
    {"saturation", BlendMode::saturation},
    {"color", BlendMode::color},
    {"luminosity", BlendMode::luminosity},
};

struct NamedRule {
    const char* name;
    PorterDuff rule;
};
constexpr NamedRule rules[] = {
    {"clear", {{0, 0}, {0, 0}}},
    {"copy", {{1, 0}, {0, 0}}},
    {"destination", {{0, 0}, {1, 0}}},
    {"source-over", {{1, 0}, {1, -1}}},
    {"destination-over", {{1, -1}, {1, 0}}},
    {"source-in", {{0, 1}, {0, 0}}},
    {"destination-in", {{0, 0}, {0, 1}}},
    {"source-out", {{1, -1}, {0, 0}}},
    {"destination-out", {{0, 0}, {1, -1}}},
    {"source-atop", {{0, 1}, {1, -1}}},
    {"destination-atop", {{1, -1}, {0, 1}}},
    {"xor", {{1, -1}, {1, -1}}},
    {"lighter", {{1, 0}, {1, 0}}},
};

/// Pixels per task: large enough to be worth one, small enough to share among cores.
constexpr std::int64_t grain = 1 << 16;

/// Checks that float samples are in [0, 1], with the slack that rounding in arithmetic needs. The
/// range of integers needs no check.
template <class T>
void require_unit(const T* samples, std::size_t n) {
    if constexpr (std::is_same_v<T, float>) {
        float low, high;
        compose::sample_kernels().range(samples, n, &low, &high);
        require(low >= -1e-6f && high <= 1 + 1e-6f,
                "samples leave [0, 1], or are no numbers: ", low, " to ", high);
    }
}

bool is_source_over(const PorterDuff& rule) {
    return rule.fs[0] == 1 && rule.fs[1] == 0 && rule.fb[0] == 1 && rule.fb[1] == -1;
}

double srgb_to_linear(double v) {
    return v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4);
}

std::unique_ptr<const SrgbTables> make_srgb_tables() {
    auto tables = std::make_unique<SrgbTables>();
    for (int i = 0; i < 256; ++i)
        tables->decode_byte[i] = static_cast<float>(srgb_to_linear(i / 255.0));
    for (int i = 0; i < 65536; ++i) tables->decode_word[i] = srgb_to_linear(i / 65535.0);
    for (int i = 0; i < SrgbTables::steps + 2; ++i) {
        const double node = std::min(1.0, static_cast<double>(i) / SrgbTables::steps);
        tables->decode[i] = static_cast<float>(srgb_to_linear(node));
        // The straight part of the curve is computed, so the table has the other one throughout.
        tables->encode[i] = static_cast<float>(1.055 * std::pow(node, 2 / 2.4) - 0.055);
    }
    return tables;
}

}  // namespace

const SrgbTables& srgb_tables() {
    static const std::unique_ptr<const SrgbTables> tables = make_srgb_tables();
    return *tables;
}

BlendMode blend_mode(const std::string& name) {
    for (const auto& item : modes)
        if (name == item.name) return item.mode;
    require(false, "there is no blend mode ", name);
    return BlendMode::normal;
}

std::vector<std::string> blend_mode_names() {
    std::vector<std::string> names;
    for (const auto& item : modes) names.emplace_back(item.name);
    return names;
}

PorterDuff porter_duff(const std::string& name) {
    for (const auto& item : rules)
        if (name == item.name) return item.rule;
    require(false, "there is no Porter-Duff operator ", name);
    return {};
}

std::vector<std::string> porter_duff_names() {
    std::vector<std::string> names;
    for (const auto& item : rules) names.emplace_back(item.name);
    return names;
}

template <class T>
void composite(const Composition& how, Layer<T> source, Layer<T> backdrop, const float* mask,
               T* out, int out_channels, std::size_t pixels, ThreadPool& pool) {
    for (int channels : {source.channels, backdrop.channels, out_channels})
        require(channels == 1 || channels == 3 || channels == 4,
                "layers have 1, 3 or 4 channels, not ", channels);
    require(out_channels >= 3 || (source.channels == 1 && backdrop.channels == 1),
            "colour does not fit into a grey result");
    require(how.alpha >= 0 && how.alpha <= 1, "alpha must be in [0, 1], not ", how.alpha);
    const auto& k = kernels(T{});
    const bool plain = source.channels == out_channels && backdrop.channels == out_channels &&
                       out_channels < 4 && is_source_over(how.rule) && !mask;
    const auto work = [&](std::int64_t begin, std::int64_t end) {
        const auto count = static_cast<std::size_t>(end - begin);
        const T* s = source.samples + begin * source.channels;
        const T* b = backdrop.samples + begin * backdrop.channels;
        T* o = out + begin * out_channels;
        const std::size_t samples = count * static_cast<std::size_t>(out_channels);
        require_unit(s, count * static_cast<std::size_t>(source.channels));
        require_unit(b, count * static_cast<std::size_t>(backdrop.channels));
        if (plain && !how.linear) {
            if (how.mode == BlendMode::normal) return k.mix(s, b, how.alpha, o, samples);
            if (how.alpha == 1.0 && k.direct(how.mode, s, b, o, samples)) return;
        }
        k.composite(how, {s, source.channels}, {b, backdrop.channels},
                    mask ? mask + begin : nullptr, o, out_channels, count);
    };
    // A task of floats goes in blocks that stay in a cache between the check and the work.
    constexpr std::int64_t block = std::is_same_v<T, float> ? 1 << 11 : grain;
    pool.for_ranges(static_cast<std::int64_t>(pixels), grain,
                    [&](std::int64_t begin, std::int64_t end) {
                        for (; begin < end; begin += block)
                            work(begin, std::min(end, begin + block));
                    });
}

template void composite(const Composition&, Layer<std::uint8_t>, Layer<std::uint8_t>, const float*,
                        std::uint8_t*, int, std::size_t, ThreadPool&);
template void composite(const Composition&, Layer<std::uint16_t>, Layer<std::uint16_t>,
                        const float*, std::uint16_t*, int, std::size_t, ThreadPool&);
template void composite(const Composition&, Layer<float>, Layer<float>, const float*, float*, int,
                        std::size_t, ThreadPool&);

}  // namespace fastsynth
