// Layers laid over one another: the weighted mean X' = α Xi + (1-α) Xj, the blend modes and the
// Porter-Duff operators of the W3C's "Compositing and Blending Level 1".
//
// Images are interleaved samples (pixels, channels) of uint8, uint16 or float32, where the largest
// integer or 1.0 means full intensity. With 4 channels the last is alpha, not multiplied in.
//
// Precision: 8-bit and float32 images are computed in float32, 16-bit images in float64; integers
// are rounded to the nearest. The plain mean is exact for integers: the error of its products is
// carried along, so that only true ties are open. No result depends on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fastsynth/common/parallel.hpp"

namespace fastsynth {

/// B(cb, cs), how the colours of backdrop and source meet. The last four look at all channels of a
/// pixel together. add = min(1, cs + cb) and subtract = max(0, cs - cb) are not the W3C's.
enum class BlendMode {
    normal,
    multiply,
    screen,
    overlay,
    darken,
    lighten,
    color_dodge,
    color_burn,
    hard_light,
    soft_light,
    difference,
    exclusion,
    add,
    subtract,
    hue,
    saturation,
    color,
    luminosity,
};

/// The mode of a W3C name such as "color-dodge". Throws std::invalid_argument for other names.
BlendMode blend_mode(const std::string& name);
std::vector<std::string> blend_mode_names();

/// A Porter-Duff operator: what is left of source and backdrop,
///     αo = αs Fs + αb Fb,   Fs = fs[0] + fs[1] αb,   Fb = fb[0] + fb[1] αs.
struct PorterDuff {
    float fs[2];
    float fb[2];
};

/// The operator of a W3C name such as "source-over". Throws std::invalid_argument for other names.
PorterDuff porter_duff(const std::string& name);
std::vector<std::string> porter_duff_names();

/// Everything about a composition but the pixels.
///     Cs' = (1 - αb) Cs + αb B(Cb, Cs),   αo Co = αs Fs Cs' + αb Fb Cb,   αs = alpha · mask · own
struct Composition {
    BlendMode mode = BlendMode::normal;
    PorterDuff rule{{1, 0}, {1, -1}};  // source-over
    double alpha = 1.0;
    bool linear = false;  // mix linear light: decode sRGB before, encode it after
};

/// Samples of one image: `channels` is 1, 3 or 4.
template <class T>
struct Layer {
    const T* samples;
    int channels;
};

/// The sRGB transfer curve (IEC 61966-2-1) as tables. Between nodes it is interpolated linearly;
/// encode has its nodes at equal steps of √light, where the curve is gentle. Errors are below 5e-8.
struct SrgbTables {
    static constexpr int steps = 8192;
    float decode_byte[256];
    double decode_word[65536];
    float decode[steps + 2];
    float encode[steps + 2];
};
const SrgbTables& srgb_tables();

/// The family of kernels; single-threaded.
template <class T>
struct BlendKernels {
    /// out ← α a + (1-α) b over n samples.
    void (*mix)(const T* a, const T* b, double alpha, T* out, std::size_t n);
    /// out ← B(b, a) over n samples, for the modes that are as quick as a copy; false for others.
    bool (*direct)(BlendMode mode, const T* a, const T* b, T* out, std::size_t n);
    /// The general case, over `pixels` pixels; the mask has one weight in [0, 1] each, or is null.
    void (*composite)(const Composition& how, Layer<T> source, Layer<T> backdrop, const float* mask,
                      T* out, int out_channels, std::size_t pixels);
};

/// The kernels of one instruction set.
struct BlendTables {
    BlendKernels<std::uint8_t> bytes;
    BlendKernels<std::uint16_t> words;
    BlendKernels<float> floats;
};

/// Composes `source` over `backdrop` into `out`, all of `pixels` pixels. `out_channels` is at least
/// the colours of both; where it has no alpha, the result is taken as opaque. Throws
/// std::invalid_argument for channel counts that do not fit, and for floats outside of [0, 1].
template <class T>
void composite(const Composition& how, Layer<T> source, Layer<T> backdrop, const float* mask,
               T* out, int out_channels, std::size_t pixels, ThreadPool& pool);

}  // namespace fastsynth
