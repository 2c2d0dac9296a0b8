#include "fastsynth/network/native/weights.hpp"

#include <functional>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "kernels/conv_kernels.hpp"

namespace fastsynth {
namespace {

int divide_up(int a, int b) { return (a + b - 1) / b; }

}  // namespace

NativeWeights::NativeWeights(std::vector<ConvWeights> layers,
                             const std::array<float, 12>& normalise)
    : layers_(std::move(layers)), normalise_(normalise) {
    require(!layers_.empty(), "a network needs at least one layer");
    const int pack = conv_kernels().out_pack;
    int channels = 3;
    for (const ConvWeights& layer : layers_) {
        require(layer.inputs == channels, "layer ", layer.name, " reads ", layer.inputs,
                " channels, but there are ", channels);
        require(layer.outputs > 0, "layer ", layer.name, " has no output channels");
        require(layer.kernel && layer.bias, "layer ", layer.name, " has no weights");
        channels = layer.outputs;
        Buffer<float> bias(static_cast<std::size_t>(divide_up(channels, pack)) * pack);
        for (int o = 0; o < channels; ++o) bias[o] = layer.bias.get()[o];
        biases_.push_back(std::move(bias));
    }
    transformed_.resize(layers_.size());
    pack_first_layer();
}

std::size_t NativeWeights::find(const std::string& name) const {
    std::string names;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        if (layers_[i].name == name) return i;
        names += (i ? ", " : "") + layers_[i].name;
    }
    require(false, "no layer ", name, " in these weights; there are: ", names);
    return 0;
}

void NativeWeights::pack_first_layer() {
    const ConvKernels& kernels = conv_kernels();
    const ConvWeights& layer = layers_.front();
    const auto B = static_cast<std::size_t>(kernels.lanes),
               pack = static_cast<std::size_t>(kernels.out_pack);
    const std::size_t blocks = divide_up(layer.outputs, kernels.lanes);
    first_forward_.resize(divide_up(layer.outputs, kernels.out_pack) * 27 * pack);
    first_backward_.resize(9 * blocks * 3 * B);
    for (std::size_t o = 0; o < static_cast<std::size_t>(layer.outputs); ++o)
        for (std::size_t i = 0; i < 3; ++i)
            for (std::size_t k = 0; k < 9; ++k) {
                const float w = layer.kernel.get()[(o * 3 + i) * 9 + k];
                first_forward_[(o / pack * 27 + i * 9 + k) * pack + o % pack] = w;
                first_backward_[(((8 - k) * blocks + o / B) * 3 + i) * B + o % B] = w;
            }
}

const float* NativeWeights::transformed(std::size_t layer, int m, bool backward, ThreadPool& pool) {
    std::lock_guard<std::mutex> lock(mutex_);
    Buffer<float>& packed = transformed_.at(layer)[2 * (m == 6) + backward];
    if (packed.empty()) {
        const ConvKernels& kernels = conv_kernels();
        const WinogradKernels& winograd = *(m == 6 ? kernels.winograd6 : kernels.winograd4);
        const ConvWeights& weights = layers_[layer];
        const int from = backward ? weights.outputs : weights.inputs;
        const int to = backward ? weights.inputs : weights.outputs;
        const int packs = divide_up(to, kernels.out_pack);
        const std::size_t pack_floats = static_cast<std::size_t>((m + 2) * (m + 2)) *
                                        (divide_up(from, kernels.lanes) * kernels.lanes) *
                                        kernels.out_pack;
        packed.resize(packs * pack_floats);
        pool.run(packs, [&](std::int64_t pack, int) {
            winograd.pack(weights.kernel.get(), weights.outputs, weights.inputs, backward,
                          static_cast<int>(pack),
                          packed.data() + static_cast<std::size_t>(pack) * pack_floats);
        });
    }
    return packed.data();
}

std::size_t NativeWeights::memory_bytes() const {
    std::lock_guard<std::mutex> lock(mutex_);
    std::size_t floats = 0;
    for (const auto& layer : transformed_)
        for (const Buffer<float>& packed : layer) floats += packed.size();
    return floats * sizeof(float);
}

}  // namespace fastsynth
