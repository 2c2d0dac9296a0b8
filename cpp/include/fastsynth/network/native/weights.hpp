// NativeWeights: the weights of a chain of 3×3 convolutions, in the form that the native kernels
// read.
//
// Made once per loaded weights and shared by every NativeNetwork, whatever its image size. Layers
// are prepared when a network first needs them, so nothing deeper than the deepest tap ever is. Two
// forms exist:
//   transformed   n²/9 times the plain weights' memory (n² = 36 for F(4×4), 64 for F(6×6); half of
//                 it in bfloat16)
//   arranged      the plain weights in the micro-kernel's order, transformed while they are used:
//                 for maps of few tiles, where memory is what limits speed; and for the gradient's
//                 kernels of large layers in large pictures, which have no room for more
// VGG16 to conv5_1 takes 160 MB forward, and 61 MB (at 1024²) to 160 MB (at 256²) for the gradient;
// 43 MB each at 32².
// A form that nobody uses goes when another form of its layer is asked for; `memory_bytes` tells
// what is held now.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/parallel.hpp"

namespace fastsynth {

struct WinogradKernels;

/// One 3×3 convolution with bias and ReLU, perhaps pooled 2×2 afterwards. The arrays are shared,
/// not copied.
struct ConvWeights {
    std::string name;
    int outputs = 0;
    int inputs = 0;
    std::shared_ptr<const float> kernel;  ///< [outputs][inputs][3][3]
    std::shared_ptr<const float> bias;    ///< [outputs]
    bool pool_after = false;
};

/// The kernels of one layer and direction, as Convolution reads them. Valid while it is held.
struct PackedKernels {
    std::shared_ptr<const Buffer<float>> data;
    bool is_transformed = false;
    float rms = 1.0f;  ///< of the plain weights
};

class NativeWeights {
  public:
    /// Maps of at most so many tiles read arranged kernels: a quarter of the memory. At 32² and 64²
    /// an evaluation takes 0.6 to 0.65 and 0.73 to 0.8 of the time (Zen 4, two threads); with 16
    /// tiles the transforms take longer than is won.
    static constexpr int few_tiles = 12;

    /// `normalise`: the 3×3 matrix A (row-major), then the offsets b, of x' = A x + b, what the
    /// network does to a pixel before its first convolution: channel order, scale, mean. Throws
    /// std::invalid_argument if layers do not fit together.
    NativeWeights(std::vector<ConvWeights> layers, const std::array<float, 12>& normalise);

    const std::vector<ConvWeights>& layers() const { return layers_; }
    const std::array<float, 12>& normalise() const { return normalise_; }

    /// Place of a layer; throws std::invalid_argument that lists the names there are.
    std::size_t find(const std::string& name) const;

    /// Bias of a layer, padded with zeros to whole packs of output channels.
    const float* bias(std::size_t layer) const { return biases_[layer].data(); }

    /// Whether `packed` gives transformed kernels for these arguments, or arranged ones.
    bool is_transformed(std::size_t layer, const WinogradKernels& kernels, bool backward,
                        int tiles) const;

    /// Weights of a layer (not the first) for these kernels and pictures of so many tiles there;
    /// made when first asked for. Thread-safe.
    PackedKernels packed(std::size_t layer, const WinogradKernels& kernels, bool backward,
                         int tiles, ThreadPool& pool);

    /// The first layer's kernels, in the layouts of FirstLayer (kernels/conv_kernels.hpp).
    const float* first_forward() const { return first_forward_.data(); }
    const float* first_backward() const { return first_backward_.data(); }

    /// Bytes of all kernels prepared so far; the plain weights are not counted.
    std::size_t memory_bytes() const;

  private:
    void pack_first_layer();

    std::vector<ConvWeights> layers_;
    std::array<float, 12> normalise_;
    std::vector<Buffer<float>> biases_;
    std::vector<float> rms_;  // of each layer's kernel; 0 until it is first packed
    Buffer<float> first_forward_, first_backward_;
    mutable std::mutex mutex_;
    /// [layer][direction][form]; forms: transformed for m = 4, for m = 6, for m = 4 in bfloat16,
    /// arranged
    using Forms = std::array<std::shared_ptr<Buffer<float>>, 4>;
    std::vector<std::array<Forms, 2>> packed_;
};

}  // namespace fastsynth
