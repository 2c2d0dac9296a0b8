// What the native network asks of its kernels: plain structs and a table of functions, free of
// vector types.
//
// Feature maps are blocked: [channels / B][height][width][B] with B = `ConvKernels::lanes`, so that
// one vector holds B channels of one pixel and every load is aligned. Channels beyond the real
// count (when it is no multiple of B) are zero.
//
// Bit masks hold one bit per value, in the same order: B bits per vector in `mask_bytes` bytes. Two
// kinds exist:
//   ReLU bits    the activation is positive: the gradient passes
//   route bits   2×2 pooling passes gradient from its output to this value (and the value's ReLU is
//   open)
// Hence the gradient of pooling + ReLU is the same for average and max pooling: route &
// upsample(gradient).
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastsynth {

enum class Pooling { max, average };

/// What a 3×3 convolution reads: the sum of up to two masked maps, zero outside the picture.
///   input = [map_bits &] map  +  route_bits & upsample2(pooled)
struct ConvInput {
    const float* map = nullptr;                ///< [in_blocks][H][W][B], or null
    const std::uint8_t* map_bits = nullptr;    ///< ReLU bits of `map`; null: all of it counts
    const float* pooled = nullptr;             ///< [in_blocks][H/2][W/2][B], or null
    const std::uint8_t* route_bits = nullptr;  ///< [in_blocks][H][W], goes with `pooled`
};

/// What is done with the sums of a forward convolution: a = max(0, sum + bias), then everything
/// that is not null.
struct ForwardOutput {
    const float* bias = nullptr;         ///< [out_blocks * B], the padding zero
    float* map = nullptr;                ///< a
    std::uint8_t* relu_bits = nullptr;   ///< a > 0
    float* pooled = nullptr;             ///< 2×2 pooling of a, [out_blocks][H/2][W/2][B]
    std::uint8_t* route_bits = nullptr;  ///< where the gradient of `pooled` goes
    Pooling pooling = Pooling::max;
};

/// What is done with the sums of a backward convolution: map = mask & (scale * sum).
struct BackwardOutput {
    float* map = nullptr;
    const std::uint8_t* mask = nullptr;  ///< ReLU bits; null: all pass
    float scale = 1.0f;                  ///< 1/4 when the map is the gradient of average pooling
};

/// One 3×3 convolution, stride 1, zero padding 1, over `height` × `width` pixels.
struct Convolution {
    int in_blocks = 0;
    int out_blocks = 0;
    int height = 0;
    int width = 0;
    const float* weights = nullptr;  ///< all packs of output channels, transformed or arranged
    bool is_transformed = true;      ///< false: `weights` are arranged, tasks transform them
    float weights_rms = 1.0f;        ///< of the plain weights; some kernels scale inputs to it
    ConvInput input;
    bool is_backward = false;  ///< which of the two outputs counts
    ForwardOutput forward;
    BackwardOutput backward;
    bool stream =
        false;  ///< write maps past the caches: they are too large to be still there when read next
};

/// A part of a convolution's work: `tiles` tiles from `first_tile` on (row by row), for the groups
/// of output channels [first_output, last_output), counted in packs of `out_pack` channels.
struct ConvTask {
    int first_tile = 0;
    int tiles = 0;
    int first_output = 0;
    int last_output = 0;
    float* scratch = nullptr;  ///< at least `scratch_floats` floats, aligned to 64 bytes
    double* seconds =
        nullptr;  ///< null, or {input transform, products, output transform}: times are added here
};

/// Winograd F(m×m, 3×3) for one m. n = m + 2 is the edge of an input tile.
struct WinogradKernels {
    int m;
    int tiles;       ///< that one micro-kernel handles at most
    bool is_half;    ///< V and U hold bfloat16: two input channels in a word of 32 bits
    bool is_paired;  ///< winograd.pairs.cpp: U of a point ends with a row of sums
    /// Floats of scratch memory that a task of so many tiles needs.
    std::size_t (*scratch_floats)(const Convolution&, int tiles);
    void (*run)(const Convolution&, const ConvTask&);

    /// Words of 32 bits from one point of transformed kernels to the next.
    std::size_t (*weights_stride)(int channels);
    /// Transforms the kernels of one pack of outputs from what `arrange` made, [channels][9]
    /// [out_pack], to [n²][channels][out_pack], `weights_stride` apart: half as many rows of words
    /// in bfloat16, channels in pairs and a row of sums after them where `is_paired`.
    void (*transform_weights)(const float* arranged, int channels, float* transformed);

    // The transforms alone, for tests: one tile [n][n], sums [n][n] -> [m][m].
    void (*transform_input)(const float* tile, float* transformed);
    void (*transform_output)(const float* sums, float* outputs);
};

/// The first layer: from the normalised picture, planar and with a border of zeros, to blocked
/// maps; and back.
struct FirstLayer {
    int out_blocks = 0;
    int height = 0;
    int width = 0;
    std::size_t stride =
        0;  ///< floats from one row of the padded picture to the next, see first_stride
    float* padded = nullptr;         ///< [3][height + 2][stride]; pixel (y, x) at [y + 1][x + 1]
    const float* weights = nullptr;  ///< forward: [out packs][27][out_pack], 27 = (channel, ky, kx)
    const float* backward_weights =
        nullptr;                       ///< [9 = (ky, kx)][out_blocks][3][B], kernels turned by 180°
    const float* normalise = nullptr;  ///< 3×3 matrix A (row-major), then 3 offsets b: x' = A x + b
};

struct FirstLayerKernels {
    /// Floats in one row of the padded picture, for this width.
    std::size_t (*stride)(int width);
    /// x' = A x + b for rows [first, last) of the planar picture [3][height][width].
    void (*normalise)(const FirstLayer&, const float* image, int first, int last);
    /// Rows [first, last) of the layer: output.map and output.relu_bits (no pooling here).
    void (*forward)(const FirstLayer&, const ForwardOutput& output, bool stream, int first,
                    int last);
    /// Rows [first, last) of the gradient of the picture [3][height][width], from the gradient of
    /// the layer's sums: bits & gradient, or all of it where `bits` is null.
    void (*backward)(const FirstLayer&, const float* gradient, const std::uint8_t* bits,
                     float* image_gradient, int first, int last);
};

/// Passes over whole maps, for the rare places where nothing can be fused. All work on vectors
/// [first, last) or blocks.
struct MapKernels {
    /// 2×2 pooling of one channel block: map [H][W][B] -> pooled [H/2][W/2][B] and route bits
    /// [H][W].
    void (*pool)(const float* map, int height, int width, Pooling pooling, float* pooled,
                 std::uint8_t* route_bits);
    /// gradient = [map_bits &] map + route_bits & upsample2(pooled) for one channel block.
    void (*gather)(const ConvInput& input, int height, int width, int block, float* gradient);
};

struct ConvKernels {
    int lanes;       ///< B
    int mask_bytes;  ///< bytes per B bits
    int out_pack;    ///< output channels that one micro-kernel makes, a multiple of B
    const WinogradKernels* winograd4;      ///< F(4×4, 3×3): relative error 3e-7 to 1e-6
    const WinogradKernels* winograd4_few;  ///< the same for maps of few tiles: plain products
    const WinogradKernels*
        winograd6;  ///< F(6×6, 3×3): a fifth less arithmetic, four times the error
    /// F(4×4, 3×3) with products in bfloat16: twice as many in the same time, relative error
    /// 7.5e-3. Null where the processor lacks them.
    const WinogradKernels* winograd4_half;
    /// Brings the kernels of output pack `pack` from OIHW weights [outputs][inputs][3][3] into
    /// the order of the micro-kernel, [in_blocks * B][9][out_pack], zeros where channels are
    /// missing. `backward` makes the kernels of the gradient: inputs and outputs swapped (the
    /// counts still name the OIHW array's), the kernel turned by 180°.
    void (*arrange)(const float* weights, int outputs, int inputs, bool backward, int pack,
                    float* arranged);
    const FirstLayerKernels* first;
    MapKernels maps;
    /// Runs `rounds` rounds of independent fused multiply-adds in registers; returns their number
    /// of operations.
    double (*multiply_adds)(long rounds);
};

/// The table of the kernel set in use.
const ConvKernels& conv_kernels();

}  // namespace fastsynth
