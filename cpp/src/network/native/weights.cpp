#include "fastsynth/network/native/weights.hpp"

#include <cmath>
#include <functional>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"
#include "kernels/conv_kernels.hpp"

namespace fastsynth {
namespace {

int divide_up(int a, int b) { return (a + b - 1) / b; }

/// Transformed kernels above this size come from memory each time they are read. Bytes. (Layers of
/// 256 × 256 channels are the largest below.)
constexpr std::size_t largest_transformed = std::size_t(16) << 20;

/// Large kernels of the gradient are kept arranged, and transformed while they are used, for maps
/// of at least so many tiles: 12 to 19 % of a layer's time, 2 % of an evaluation, against 100 MB.
/// With fewer tiles it would cost more, and there is memory.
constexpr int many_tiles = 96;

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
    packed_.resize(layers_.size());
    rms_.resize(layers_.size());
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

namespace {

/// Sizes of one layer's kernels in one direction.
struct Forming {
    int packs, channels;
    std::size_t arranged;     // floats of one pack
    std::size_t transformed;  // the same, or words of 32 bits, two values each in half precision

    Forming(const ConvWeights& weights, const WinogradKernels& winograd, bool backward) {
        const ConvKernels& kernels = conv_kernels();
        const int from = backward ? weights.outputs : weights.inputs;
        const int to = backward ? weights.inputs : weights.outputs;
        const int n = winograd.m + 2;
        packs = divide_up(to, kernels.out_pack);
        channels = divide_up(from, kernels.lanes) * kernels.lanes;
        arranged = 9 * static_cast<std::size_t>(channels) * kernels.out_pack;
        transformed = static_cast<std::size_t>(n * n) * winograd.weights_stride(channels);
    }
    bool is_small() const {
        return static_cast<std::size_t>(packs) * transformed * sizeof(float) <= largest_transformed;
    }
};

}  // namespace

bool NativeWeights::is_transformed(std::size_t layer, const WinogradKernels& winograd,
                                   bool backward, int tiles) const {
    if (tiles <= few_tiles) return false;
    return !backward || tiles < many_tiles ||
           Forming(layers_.at(layer), winograd, backward).is_small();
}

PackedKernels NativeWeights::packed(std::size_t layer, const WinogradKernels& winograd,
                                    bool backward, int tiles, ThreadPool& pool) {
    const ConvKernels& kernels = conv_kernels();
    const ConvWeights& weights = layers_.at(layer);
    const Forming size(weights, winograd, backward);
    const bool is_transformed = this->is_transformed(layer, winograd, backward, tiles);
    const std::size_t kept = winograd.is_half ? 2 : winograd.m == 6 ? 1 : 0;
    const std::size_t form = is_transformed ? kept : 3;

    std::lock_guard<std::mutex> lock(mutex_);
    Forms& forms = packed_[layer][backward];
    for (std::size_t other = 0; other < forms.size(); ++other)
        if (other != form && forms[other].use_count() == 1) forms[other].reset();
    if (!forms[form]) {
        const std::size_t pack_floats = is_transformed ? size.transformed : size.arranged;
        const auto packed =
            std::make_shared<Buffer<float>>(static_cast<std::size_t>(size.packs) * pack_floats);
        pool.run(size.packs, [&](std::int64_t task, int) {
            float* target = packed->data() + static_cast<std::size_t>(task) * pack_floats;
            Buffer<float> temporary(is_transformed ? size.arranged : 0);
            float* plain = is_transformed ? temporary.data() : target;
            kernels.arrange(weights.kernel.get(), weights.outputs, weights.inputs, backward,
                            static_cast<int>(task), plain);
            if (is_transformed) winograd.transform_weights(plain, size.channels, target);
        });
        forms[form] = packed;
    }
    float& rms = rms_[layer];
    if (rms == 0.0f) {
        const auto count = static_cast<std::size_t>(weights.outputs) * weights.inputs * 9;
        const float* kernel = weights.kernel.get();
        rms = static_cast<float>(
            std::sqrt(dot(kernel, kernel, count, pool) / static_cast<double>(count)));
    }
    return {forms[form], is_transformed, rms};
}

std::size_t NativeWeights::memory_bytes() const {
    std::lock_guard<std::mutex> lock(mutex_);
    std::size_t floats = 0;
    for (const auto& layer : packed_)
        for (const Forms& direction : layer)
            for (const auto& form : direction)
                if (form) floats += form->size();
    return floats * sizeof(float);
}

}  // namespace fastsynth
