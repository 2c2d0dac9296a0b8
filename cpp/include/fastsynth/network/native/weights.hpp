// NativeWeights: the weights of a chain of 3×3 convolutions, in the form that the native kernels
// read.
//
// Made once per loaded weights and shared by every NativeNetwork, whatever its image size. Layers
// are transformed when a network first needs them, so nothing deeper than the deepest tap is ever
// prepared. Transformed weights take n²/9 times the memory of the plain ones per direction (n² = 36
// for F(4×4), 64 for F(6×6)): VGG16 to conv5_1 160 MB forward and as much backward. `memory_bytes`
// tells what is held now.
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

class NativeWeights {
  public:
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

    /// Transformed kernels of a layer (not the first) for F(m×m, 3×3), m 4 or 6, made on the first
    /// call. Thread-safe.
    const float* transformed(std::size_t layer, int m, bool backward, ThreadPool& pool);

    /// The first layer's kernels, in the layouts of FirstLayer (kernels/conv_kernels.hpp).
    const float* first_forward() const { return first_forward_.data(); }
    const float* first_backward() const { return first_backward_.data(); }

    /// Bytes of all transformed kernels made so far.
    std::size_t memory_bytes() const;

  private:
    void pack_first_layer();

    std::vector<ConvWeights> layers_;
    std::array<float, 12> normalise_;
    std::vector<Buffer<float>> biases_;
    Buffer<float> first_forward_, first_backward_;
    mutable std::mutex mutex_;
    std::vector<std::array<Buffer<float>, 4>> transformed_;  ///< [layer][2 * (m == 6) + backward]
};

}  // namespace fastsynth
