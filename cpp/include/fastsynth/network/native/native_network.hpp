// NativeNetwork: forward and gradient of a VGG-like chain on the CPU, by our own kernels.
//
// Layers are 3×3 convolutions with stride 1, zero padding 1 (after normalisation), bias and ReLU,
// some followed by 2×2 pooling that drops an odd last row or column. Any channel counts, any height
// and width that leave at least one pixel at the deepest tap. Feature maps stay in the kernels'
// blocked layout from the picture to its gradient; a tap whose channel count is no multiple of the
// block is handed over planar.
//
// Results do not depend on the number of threads or on timing: each output tile is computed by one
// task in a fixed order.
//
// Maps, their gradients and whatever else is not needed at the same time share memory
// (src/network/native/memory_plan.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fastsynth/network/native/weights.hpp"
#include "fastsynth/network/network.hpp"

namespace fastsynth {

struct NativeOptions {
    bool average_pooling = false;
    /// Products in bfloat16 where the processor has them (has_bf16()): a layer's relative error is
    /// 7.5e-3 instead of 6e-7. Else F(6×6) instead of F(4×4) on large maps: up to a tenth faster,
    /// four times the rounding error of these layers (2.5e-6). Maps of few tiles are exact.
    bool fast = false;
    /// Without gradient no feature outlives the layer after it: `forward` must be given a visitor.
    bool with_gradient = true;
};

/// Where the time of one convolution went, added over the passes since profiling began.
struct LayerProfile {
    std::string name;
    bool backward = false;
    int m = 0;                   ///< F(m×m, 3×3); 0: direct
    double direct_flops = 0.0;   ///< 2·9·C·O·H·W of one pass: what a direct convolution computes
    double product_flops = 0.0;  ///< what the micro-kernel computes in one pass
    double wall_seconds = 0.0;
    double part_seconds[3] =
        {};  ///< input transform, products, output transform, added over the threads
    long passes = 0;
};

class NativeNetwork final : public Network {
  public:
    /// Taps may come in any order; `taps()` has them from shallow to deep, each once.
    NativeNetwork(std::shared_ptr<NativeWeights> weights, int height, int width,
                  const std::vector<std::string>& taps, const NativeOptions& options,
                  std::shared_ptr<ThreadPool> pool);
    ~NativeNetwork() override;

    int height() const override;
    int width() const override;
    const std::vector<std::string>& taps() const override;
    void forward(const float* image) override;
    FeatureMap feature(std::size_t tap) override;
    /// Once after each forward: it uses the memory of the features.
    void backward(const WriteCotangent& write, float* image_gradient) override;
    bool keeps_features() const override { return false; }

    /// Forward that shows each tap's feature as soon as it is there; it is valid in the call alone.
    /// This is the only forward of a network without gradient.
    using Visit = std::function<void(std::size_t tap, const FeatureMap& feature)>;
    void forward(const float* image, const Visit& visit);

    /// (channels, height, width) of a tap.
    std::array<int, 3> shape(std::size_t tap) const;

    /// Bytes of feature maps, masks and scratch memory; the weights are not counted.
    std::size_t memory_bytes() const;

    /// What memory_bytes() of such a network would be; allocates nothing.
    static std::size_t count_bytes(std::shared_ptr<NativeWeights> weights, int height, int width,
                                   const std::vector<std::string>& taps,
                                   const NativeOptions& options, std::shared_ptr<ThreadPool> pool);

    /// Starts measuring (and forgets earlier measurements), or stops.
    void set_profiling(bool on);
    std::vector<LayerProfile> profile() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace fastsynth
