#include "fastsynth/network/native/native_network.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "kernels/conv_kernels.hpp"
#include "kernels/stopwatch.hpp"
#include "network/native/conv_step.hpp"

namespace fastsynth {
namespace {

/// Maps above this size are gone from the caches before the next layer reads them, so they are
/// written past the caches, which saves reading them first. Bytes.
constexpr std::size_t stream_threshold = std::size_t(4) << 20;

/// F(6×6) wins on maps of at least this height and width; below, its larger tiles waste too much at
/// the edges.
constexpr int smallest_fast_map = 96;

/// Untapped maps live in two buffers by turns: where one layer's input lies, its output does not.
constexpr int in_own_memory = -1;
int other(int buffer) { return buffer == 0 ? 1 : 0; }

struct Layer {
    const ConvWeights* weights = nullptr;
    int height = 0, width = 0;
    int blocks = 0;          // channel blocks of the output
    bool is_pooled = false;  // and somebody looks at the pooled map
    bool is_tapped = false;

    // Forward. A layer that is pooled and not tapped leaves no full map.
    int forward_buffer = in_own_memory;  // of what the next layer reads: the map, or the pooled map
    float* map = nullptr;
    float* pooled = nullptr;
    // Backward.
    int gradient_buffer = in_own_memory;  // of what comes back: the gradient of the pooled map, or
                                          // of the layer's sums
    float* gradient = nullptr;
    float* cotangent = nullptr;

    Buffer<float> feature_memory, cotangent_memory;  // taps
    Buffer<float> planar_feature,
        planar_cotangent;  // taps whose channels are no multiple of the block
    Buffer<std::uint8_t> relu_bits, route_bits;

    std::size_t positions() const { return static_cast<std::size_t>(height) * width; }
    std::size_t half_positions() const {
        return static_cast<std::size_t>(height / 2) * (width / 2);
    }
};

}  // namespace

struct NativeNetwork::State {
    State(std::shared_ptr<NativeWeights> weights_, int height, int width,
          const std::vector<std::string>& wanted, const NativeOptions& options_,
          std::shared_ptr<ThreadPool> pool_)
        : weights(std::move(weights_)),
          options(options_),
          pool(std::move(pool_)),
          kernels(conv_kernels()) {
        require(weights != nullptr && pool != nullptr, "a network needs weights and a thread pool");
        require(height > 0 && width > 0, "the picture must have at least one pixel, not ", height,
                "x", width);
        require(!wanted.empty(), "at least one layer must be tapped");
        measure(height, width, wanted);
        allocate();
        wire_forward();
        if (options.with_gradient) wire_backward();
        scratch.allocate(pool->threads());
    }

    // ---- layout: shapes, taps, which buffer holds what ----

    void measure(int height, int width, const std::vector<std::string>& wanted) {
        for (const std::string& name : wanted) tap_layers.push_back(weights->find(name));
        std::sort(tap_layers.begin(), tap_layers.end());
        tap_layers.erase(std::unique(tap_layers.begin(), tap_layers.end()), tap_layers.end());
        layers.resize(tap_layers.back() + 1);
        int y = height, x = width;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            Layer& layer = layers[i];
            layer.weights = &weights->layers()[i];
            require(y > 0 && x > 0, "a picture of ", height, "x", width,
                    " pixels has nothing left at ", layer.weights->name,
                    ": tap shallower layers or take a larger picture");
            layer.height = y;
            layer.width = x;
            layer.blocks = (layer.weights->outputs + kernels.lanes - 1) / kernels.lanes;
            layer.is_pooled = layer.weights->pool_after && i + 1 < layers.size();
            layer.is_tapped = std::binary_search(tap_layers.begin(), tap_layers.end(), i);
            if (layer.is_tapped) taps.push_back(layer.weights->name);
            if (layer.is_pooled) {
                y /= 2;
                x /= 2;
            }
        }
    }

    std::size_t map_floats(const Layer& layer) const {
        return layer.positions() * layer.blocks * kernels.lanes;
    }
    std::size_t pooled_floats(const Layer& layer) const {
        return layer.half_positions() * layer.blocks * kernels.lanes;
    }

    /// The first layer's gradient is gathered by a pass of its own when it cannot come from a
    /// convolution's output.
    bool first_is_gathered() const { return layers.size() == 1 || layers[0].is_pooled; }

    void allocate() {
        std::size_t floats[2] = {0, 0};
        const auto use = [&](int buffer, std::size_t count) {
            if (buffer != in_own_memory) floats[buffer] = std::max(floats[buffer], count);
        };
        int previous = in_own_memory;
        for (Layer& layer : layers) {
            // A first layer that is pooled makes its full map first, in the other buffer.
            if (layer.is_pooled || !layer.is_tapped) layer.forward_buffer = other(previous);
            use(layer.forward_buffer, layer.is_pooled ? pooled_floats(layer) : map_floats(layer));
            previous = layer.forward_buffer;
        }
        if (layers[0].is_pooled && !layers[0].is_tapped)
            use(other(layers[0].forward_buffer), map_floats(layers[0]));
        if (options.with_gradient) {
            previous = in_own_memory;
            for (std::size_t i = layers.size() - 1; i-- > 0;) {
                Layer& below = layers[i];
                if (below.is_pooled || !below.is_tapped) below.gradient_buffer = other(previous);
                use(below.gradient_buffer,
                    below.is_pooled ? pooled_floats(below) : map_floats(below));
                previous = below.gradient_buffer;
                // What layer i reads is its dz: it lies there, or is formed while reading.
            }
            if (layers[0].is_pooled && !layers[0].is_tapped)
                use(other(layers[0].gradient_buffer), map_floats(layers[0]));
        }
        for (int i = 0; i < 2; ++i) buffers[i].resize(floats[i]);

        for (Layer& layer : layers) {
            const bool is_planar = layer.weights->outputs % kernels.lanes != 0;
            const std::size_t planar = layer.positions() * layer.weights->outputs;
            const std::size_t bits = layer.positions() * layer.blocks * kernels.mask_bytes;
            if (layer.is_tapped) {
                layer.feature_memory.resize(map_floats(layer));
                if (is_planar) layer.planar_feature.resize(planar);
            }
            if (!options.with_gradient) continue;
            if (layer.is_tapped) {
                layer.cotangent_memory.resize(map_floats(layer));
                layer.cotangent = layer.cotangent_memory.data();
                if (is_planar) layer.planar_cotangent.resize(planar);
            }
            if (layer.is_tapped || !layer.is_pooled) layer.relu_bits.resize(bits);
            if (layer.is_pooled) layer.route_bits.resize(bits);
        }
    }

    float* buffer(int index) { return buffers[index].data(); }

    // ---- forward ----

    const WinogradKernels& winograd_for(const Layer& layer) const {
        const bool is_large = std::min(layer.height, layer.width) >= smallest_fast_map;
        return *(options.fast && is_large ? kernels.winograd6 : kernels.winograd4);
    }

    static bool should_stream(std::size_t floats) {
        return floats * sizeof(float) >= stream_threshold;
    }

    void wire_forward() {
        for (Layer& layer : layers) {
            if (layer.is_tapped) {
                layer.map = layer.feature_memory.data();
            } else if (!layer.is_pooled) {
                layer.map = buffer(layer.forward_buffer);
            }
            if (layer.is_pooled) layer.pooled = buffer(layer.forward_buffer);
        }

        Layer& bottom = layers[0];
        if (!bottom.map) bottom.map = buffer(other(bottom.forward_buffer));
        first.out_blocks = bottom.blocks;
        first.height = bottom.height;
        first.width = bottom.width;
        first.stride = kernels.first->stride(bottom.width);
        padded.resize(3 * (bottom.height + 2) * first.stride);
        first.padded = padded.data();
        first.weights = weights->first_forward();
        first.backward_weights = weights->first_backward();
        first.normalise = weights->normalise().data();
        first_output.bias = weights->bias(0);
        first_output.map = bottom.map;
        first_output.relu_bits = bottom.relu_bits.data();
        rows_per_task = std::max(1, 8192 / bottom.width);

        for (std::size_t i = 1; i < layers.size(); ++i) {
            Layer& layer = layers[i];
            const Layer& below = layers[i - 1];
            const WinogradKernels& winograd = winograd_for(layer);
            Convolution conv;
            conv.in_blocks = below.blocks;
            conv.out_blocks = layer.blocks;
            conv.height = layer.height;
            conv.width = layer.width;
            conv.weights = weights->transformed(i, winograd.m, false, *pool);
            conv.input.map = below.is_pooled ? below.pooled : below.map;
            conv.forward.bias = weights->bias(i);
            conv.forward.map = layer.map;
            conv.forward.relu_bits = layer.relu_bits.data();
            conv.forward.pooled = layer.pooled;
            conv.forward.route_bits = layer.route_bits.data();
            conv.forward.pooling = pooling();
            conv.stream = should_stream(map_floats(layer));
            forward_steps.emplace_back(layer.weights->name, conv, layer.weights->inputs,
                                       layer.weights->outputs, winograd, pool->threads());
            scratch.reserve(forward_steps.back().scratch_floats());
        }
    }

    Pooling pooling() const { return options.average_pooling ? Pooling::average : Pooling::max; }

    void forward(const float* image) {
        by_rows([&](int begin, int end) { kernels.first->normalise(first, image, begin, end); });
        const bool is_streamed = should_stream(map_floats(layers[0]));
        by_rows([&](int begin, int end) {
            kernels.first->forward(first, first_output, is_streamed, begin, end);
        });
        const Layer& bottom = layers[0];
        if (bottom.is_pooled)
            by_blocks(bottom.blocks, [&](std::size_t block) {
                std::uint8_t* bits = layers[0].route_bits.data();
                kernels.maps.pool(
                    bottom.map + block * bottom.positions() * kernels.lanes, bottom.height,
                    bottom.width, pooling(),
                    bottom.pooled + block * bottom.half_positions() * kernels.lanes,
                    bits ? bits + block * bottom.positions() * kernels.mask_bytes : nullptr);
            });
        for (ConvStep& step : forward_steps) step.run(*pool, scratch);
        for (std::size_t i : tap_layers)
            if (!layers[i].planar_feature.empty())
                to_planar(blocked(layers[i], layers[i].map), layers[i].planar_feature);
    }

    // ---- backward ----

    void wire_backward() {
        for (Layer& layer : layers) {
            if (layer.gradient_buffer != in_own_memory) {
                layer.gradient = buffer(layer.gradient_buffer);
            } else {
                layer.gradient = layer.cotangent;  // in place: the mask and the other layers' part
                                                   // are added there
            }
        }
        for (std::size_t i = layers.size() - 1; i > 0; --i) {
            Layer& layer = layers[i];
            Layer& below = layers[i - 1];
            const WinogradKernels& winograd = winograd_for(layer);
            Convolution conv;
            conv.is_backward = true;
            conv.in_blocks = layer.blocks;
            conv.out_blocks = below.blocks;
            conv.height = layer.height;
            conv.width = layer.width;
            conv.weights = weights->transformed(i, winograd.m, true, *pool);
            conv.input = gradient_input(layer, i + 1 == layers.size());
            conv.backward.map = below.gradient;
            if (below.is_pooled) {
                conv.backward.scale = options.average_pooling ? 0.25f : 1.0f;
            } else {
                conv.backward.addend = below.cotangent;
                conv.backward.mask = below.relu_bits.data();
            }
            conv.stream = !conv.backward.addend &&
                          should_stream(layer.positions() * below.blocks * kernels.lanes);
            backward_steps.emplace_back(layer.weights->name, conv, layer.weights->outputs,
                                        layer.weights->inputs, winograd, pool->threads());
            scratch.reserve(backward_steps.back().scratch_floats());
        }
        Layer& bottom = layers[0];
        first_gradient = bottom.gradient;
        if (first_is_gathered()) {
            gather_input = gradient_input(bottom, layers.size() == 1);
            first_gradient =
                bottom.cotangent ? bottom.cotangent : buffer(other(bottom.gradient_buffer));
        }
    }

    /// The gradient of a layer's sums (before bias and ReLU), as a convolution or `gather` reads
    /// it.
    ConvInput gradient_input(Layer& layer, bool is_deepest) {
        ConvInput input;
        if (is_deepest || (layer.is_pooled && layer.is_tapped)) {
            input.map = layer.cotangent;
            input.map_bits = layer.relu_bits.data();
        }
        if (layer.is_pooled) {
            input.pooled = layer.gradient;
            input.route_bits = layer.route_bits.data();
        } else if (!is_deepest) {
            input.map = layer.gradient;
        }
        return input;
    }

    void backward(float* image_gradient) {
        require(options.with_gradient, "this network was made without gradient");
        for (std::size_t i : tap_layers) {
            Layer& layer = layers[i];
            if (layer.planar_cotangent.empty()) continue;
            std::fill(layer.cotangent_memory.begin(), layer.cotangent_memory.end(), 0.0f);
            add_planar(layer.planar_cotangent.data(), blocked(layer, layer.cotangent));
        }
        for (ConvStep& step : backward_steps) step.run(*pool, scratch);
        const Layer& bottom = layers[0];
        if (first_is_gathered())
            by_blocks(bottom.blocks, [&](std::size_t block) {
                kernels.maps.gather(gather_input, bottom.height, bottom.width,
                                    static_cast<int>(block), first_gradient);
            });
        by_rows([&](int begin, int end) {
            kernels.first->backward(first, first_gradient, image_gradient, begin, end);
        });
    }

    // ---- helpers ----

    template <class Body>
    void by_rows(Body body) {
        const auto task = [&](std::int64_t i, int) {
            const int begin = static_cast<int>(i) * rows_per_task;
            body(begin, std::min(first.height, begin + rows_per_task));
        };
        pool->run((first.height + rows_per_task - 1) / rows_per_task, std::cref(task));
    }

    template <class Body>
    void by_blocks(int blocks, Body body) {
        const auto task = [&](std::int64_t i, int) { body(static_cast<std::size_t>(i)); };
        pool->run(blocks, std::cref(task));
    }

    /// Blocked map with its real channel count. (The functions of network.hpp go by that count.)
    FeatureMap blocked(const Layer& layer, float* data) const {
        return {data, layer.weights->outputs, layer.height, layer.width, kernels.lanes};
    }
    static void to_planar(const FeatureMap& map, Buffer<float>& planar) {
        fastsynth::to_planar(map, planar.data());
    }

    FeatureMap tap_map(std::size_t tap, bool wants_cotangent) {
        Layer& layer = layers[tap_layers.at(tap)];
        Buffer<float>& planar = wants_cotangent ? layer.planar_cotangent : layer.planar_feature;
        if (!planar.empty())
            return {planar.data(), layer.weights->outputs, layer.height, layer.width, 1};
        return blocked(layer, wants_cotangent ? layer.cotangent : layer.map);
    }

    std::size_t memory_bytes() const {
        std::size_t floats = buffers[0].size() + buffers[1].size() + padded.size(),
                    bytes = scratch.bytes();
        for (const Layer& layer : layers) {
            floats += layer.feature_memory.size() + layer.cotangent_memory.size() +
                      layer.planar_feature.size() + layer.planar_cotangent.size();
            bytes += layer.relu_bits.size() + layer.route_bits.size();
        }
        return bytes + floats * sizeof(float);
    }

    std::shared_ptr<NativeWeights> weights;
    NativeOptions options;
    std::shared_ptr<ThreadPool> pool;
    const ConvKernels& kernels;
    std::vector<Layer> layers;  // to the deepest tap
    std::vector<std::size_t> tap_layers;
    std::vector<std::string> taps;

    Buffer<float> buffers[2];
    WorkerScratch scratch;
    std::vector<ConvStep> forward_steps, backward_steps;  // in order of execution

    Buffer<float> padded;
    FirstLayer first;
    ForwardOutput first_output;
    ConvInput gather_input;
    float* first_gradient = nullptr;
    int rows_per_task = 1;
};

NativeNetwork::NativeNetwork(std::shared_ptr<NativeWeights> weights, int height, int width,
                             const std::vector<std::string>& taps, const NativeOptions& options,
                             std::shared_ptr<ThreadPool> pool)
    : state_(std::make_unique<State>(std::move(weights), height, width, taps, options,
                                     std::move(pool))) {}

NativeNetwork::~NativeNetwork() = default;

int NativeNetwork::height() const { return state_->first.height; }
int NativeNetwork::width() const { return state_->first.width; }
const std::vector<std::string>& NativeNetwork::taps() const { return state_->taps; }
void NativeNetwork::forward(const float* image) { state_->forward(image); }
FeatureMap NativeNetwork::feature(std::size_t tap) { return state_->tap_map(tap, false); }
FeatureMap NativeNetwork::cotangent(std::size_t tap) {
    require(state_->options.with_gradient, "this network was made without gradient");
    return state_->tap_map(tap, true);
}
void NativeNetwork::backward(float* image_gradient) { state_->backward(image_gradient); }
std::size_t NativeNetwork::memory_bytes() const { return state_->memory_bytes(); }

void NativeNetwork::set_profiling(bool on) {
    for (auto* steps : {&state_->forward_steps, &state_->backward_steps})
        for (ConvStep& step : *steps) step.set_profiling(on, state_->pool->threads());
}

std::vector<LayerProfile> NativeNetwork::profile() const {
    std::vector<LayerProfile> result;
    for (auto* steps : {&state_->forward_steps, &state_->backward_steps})
        for (const ConvStep& step : *steps) result.push_back(step.profile());
    return result;
}

}  // namespace fastsynth
