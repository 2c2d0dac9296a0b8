#include "fastsynth/network/native/native_network.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "kernels/conv_kernels.hpp"
#include "kernels/stopwatch.hpp"
#include "network/native/conv_step.hpp"
#include "network/native/memory_plan.hpp"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace fastsynth {
namespace {

/// Gives what the allocator holds free back to the system, before much is asked for: the maps of an
/// earlier network may be too fragmented to be used again (12 MB in an evaluation at 512²).
void return_free_memory() {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

/// Maps above this size are gone from the caches before the next layer reads them, so they are
/// written past the caches, which saves reading them first. Bytes.
constexpr std::size_t stream_threshold = std::size_t(4) << 20;

/// F(6×6) wins on maps of at least this height and width; below, its larger tiles waste too much at
/// the edges.
constexpr int smallest_fast_map = 96;

struct Layer {
    const ConvWeights* weights = nullptr;
    int height = 0, width = 0;
    int blocks = 0;          // channel blocks of the output
    bool is_pooled = false;  // and somebody looks at the pooled map
    bool is_tapped = false;

    // Forward. A layer that is pooled and not tapped leaves no full map.
    float* map = nullptr;
    float* pooled = nullptr;
    // Backward, before the ReLU's mask.
    float* gradient = nullptr;   // of the pooled map if there is one, else of the map
    float* cotangent = nullptr;  // of the map, for a layer that is pooled and tapped

    // Taps whose channels are no multiple of the block are handed over planar.
    float* planar_feature = nullptr;
    float* planar_cotangent = nullptr;

    Buffer<std::uint8_t> relu_bits, route_bits;

    std::size_t positions() const { return static_cast<std::size_t>(height) * width; }
    std::size_t half_positions() const {
        return static_cast<std::size_t>(height / 2) * (width / 2);
    }
};

}  // namespace

struct NativeNetwork::State {
    /// is_real = false: only counts the memory.
    State(std::shared_ptr<NativeWeights> weights_, int height, int width,
          const std::vector<std::string>& wanted, const NativeOptions& options_,
          std::shared_ptr<ThreadPool> pool_, bool is_real_ = true)
        : weights(std::move(weights_)),
          options(options_),
          pool(std::move(pool_)),
          kernels(conv_kernels()),
          is_real(is_real_) {
        require(weights != nullptr && pool != nullptr, "a network needs weights and a thread pool");
        require(height > 0 && width > 0, "the picture must have at least one pixel, not ", height,
                "x", width);
        require(!wanted.empty(), "at least one layer must be tapped");
        measure(height, width, wanted);
        allocate();
        wire_first_layer();
        wire_forward();
        if (options.with_gradient) wire_backward();
        if (is_real) scratch.allocate(pool->threads());
    }

    // ---- layout: shapes, taps, what lies where ----

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

    /// Steps of an evaluation, for the memory plan: layer i runs forward in step i. Then, from deep
    /// to shallow, its cotangent is asked for in one step and it runs backward in the next.
    int deepest() const { return static_cast<int>(layers.size()) - 1; }
    int step_of_cotangent(int layer) const { return deepest() + 1 + 2 * (deepest() - layer); }
    int step_of_backward(int layer) const { return step_of_cotangent(layer) + 1; }

    void allocate() {
        for (int i = 0; i <= deepest(); ++i) {
            Layer& layer = layers[i];
            const bool is_kept = layer.is_tapped && options.with_gradient;
            const int last_look = is_kept ? step_of_cotangent(i) : i + 1;
            if (layer.is_tapped || !layer.is_pooled || i == 0)
                plan.add(map_floats(layer), i, last_look, layer.map);
            if (layer.is_pooled) plan.add(pooled_floats(layer), i, i + 1, layer.pooled);
            if (is_kept && is_planar(layer))
                plan.add(planar_floats(layer), i, last_look, layer.planar_feature);
            if (options.with_gradient) allocate_backward(i);
        }
        plan.arrange();
        if (!is_real) return;
        return_free_memory();
        plan.allocate();
    }

    void allocate_backward(int i) {
        Layer& layer = layers[i];
        const int asked = step_of_cotangent(i), used = step_of_backward(i);
        const int made = i == deepest() ? asked : step_of_backward(i + 1);
        plan.add(layer.is_pooled ? pooled_floats(layer) : map_floats(layer), made, used,
                 layer.gradient);
        if (layer.is_pooled && layer.is_tapped)
            plan.add(map_floats(layer), asked, used, layer.cotangent);
        if (layer.is_tapped && is_planar(layer))
            plan.add(planar_floats(layer), asked, asked, layer.planar_cotangent);
        if (layer.is_pooled && i == 0) plan.add(map_floats(layer), used, used, gathered);

        const std::size_t bits = layer.positions() * layer.blocks * kernels.mask_bytes;
        const bool has_relu = layer.is_tapped || !layer.is_pooled;
        bit_bytes += bits * ((has_relu ? 1u : 0u) + (layer.is_pooled ? 1u : 0u));
        if (!is_real) return;
        if (has_relu) layer.relu_bits.resize(bits);
        if (layer.is_pooled) layer.route_bits.resize(bits);
    }

    bool is_planar(const Layer& layer) const { return layer.weights->outputs % kernels.lanes != 0; }
    static std::size_t planar_floats(const Layer& layer) {
        return layer.positions() * layer.weights->outputs;
    }

    const WinogradKernels& winograd_for(const Layer& layer) const {
        if (tile_count(layer.height, layer.width, 4) <= NativeWeights::few_tiles)
            return *kernels.winograd4_few;
        if (!options.fast) return *kernels.winograd4;
        if (kernels.winograd4_half) return *kernels.winograd4_half;
        const bool is_large = std::min(layer.height, layer.width) >= smallest_fast_map;
        return *(is_large ? kernels.winograd6 : kernels.winograd4);
    }

    static bool should_stream(std::size_t floats) {
        return floats * sizeof(float) >= stream_threshold;
    }

    // ---- forward ----

    void wire_first_layer() {
        Layer& bottom = layers[0];
        first.out_blocks = bottom.blocks;
        first.height = bottom.height;
        first.width = bottom.width;
        first.stride = kernels.first->stride(bottom.width);
        padded_floats = static_cast<std::size_t>(3 * (bottom.height + 2)) * first.stride;
        if (is_real) padded.resize(padded_floats);
        first.padded = padded.data();
        first.weights = weights->first_forward();
        first.backward_weights = weights->first_backward();
        first.normalise = weights->normalise().data();
        first_output.bias = weights->bias(0);
        first_output.map = bottom.map;
        first_output.relu_bits = bottom.relu_bits.data();
        rows_per_task = std::max(1, 8192 / bottom.width);
    }

    /// The convolution that leads to `layer`, or its gradient, without inputs and outputs.
    Convolution convolution(std::size_t i, bool is_backward) {
        const Layer &layer = layers[i], &below = layers[i - 1];
        const WinogradKernels& winograd = winograd_for(layer);
        const int tiles = tile_count(layer.height, layer.width, winograd.m);
        Convolution conv;
        conv.is_transformed = weights->is_transformed(i, winograd, is_backward, tiles);
        if (is_real) {
            packed.push_back(weights->packed(i, winograd, is_backward, tiles, *pool));
            conv.weights = packed.back().data->data();
            conv.weights_rms = packed.back().rms;
        }
        conv.is_backward = is_backward;
        conv.in_blocks = is_backward ? layer.blocks : below.blocks;
        conv.out_blocks = is_backward ? below.blocks : layer.blocks;
        conv.height = layer.height;
        conv.width = layer.width;
        conv.stream = should_stream(layer.positions() * conv.out_blocks * kernels.lanes);
        return conv;
    }

    void wire_forward() {
        for (std::size_t i = 1; i < layers.size(); ++i) {
            Layer& layer = layers[i];
            const Layer& below = layers[i - 1];
            Convolution conv = convolution(i, false);
            conv.input.map = below.is_pooled ? below.pooled : below.map;
            conv.forward.bias = weights->bias(i);
            conv.forward.map = layer.map;
            conv.forward.relu_bits = layer.relu_bits.data();
            conv.forward.pooled = layer.pooled;
            conv.forward.route_bits = layer.route_bits.data();
            conv.forward.pooling = pooling();
            forward_steps.emplace_back(layer.weights->name, conv, layer.weights->inputs,
                                       layer.weights->outputs, winograd_for(layer),
                                       pool->threads());
            scratch.reserve(forward_steps.back().scratch_floats());
        }
    }

    Pooling pooling() const { return options.average_pooling ? Pooling::average : Pooling::max; }

    void forward(const float* image, const Visit* visit) {
        if (!std::exchange(has_run, true))
            return_free_memory();  // of terms that took their targets
        run_first_layer(image);
        std::size_t tap = 0;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            const Layer& layer = layers[i];
            if (i > 0) forward_steps[i - 1].run(*pool, scratch);
            if (!layer.is_tapped) continue;
            if (layer.planar_feature) to_planar(blocked(layer, layer.map), layer.planar_feature);
            if (visit) (*visit)(tap, blocked(layer, layer.map));
            ++tap;
        }
        has_features = options.with_gradient;
    }

    void run_first_layer(const float* image) {
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
    }

    // ---- backward ----

    void wire_backward() {
        for (std::size_t i = 1; i < layers.size(); ++i) {
            const Layer& layer = layers[i];
            const Layer& below = layers[i - 1];
            Convolution conv = convolution(i, true);
            conv.backward.map = below.gradient;
            if (below.is_pooled) {
                conv.backward.scale = options.average_pooling ? 0.25f : 1.0f;
            } else if (!below.is_tapped) {
                // Where a term adds its part, the mask comes after it: see gradient_input.
                conv.backward.mask = below.relu_bits.data();
            }
            backward_steps.emplace_back(layer.weights->name, conv, layer.weights->outputs,
                                        layer.weights->inputs, winograd_for(layer),
                                        pool->threads());
            scratch.reserve(backward_steps.back().scratch_floats());
        }
    }

    /// The gradient of a layer's sums (before bias and ReLU), as a convolution or `gather` reads
    /// it. `has_own`: a term wrote a cotangent; `has_deeper`: gradient came from deeper layers.
    static ConvInput gradient_input(const Layer& layer, bool has_own, bool has_deeper) {
        ConvInput input;
        if (!layer.is_pooled) {
            input.map = layer.gradient;
            if (layer.is_tapped) input.map_bits = layer.relu_bits.data();
            return input;
        }
        if (has_own) {
            input.map = layer.cotangent;
            input.map_bits = layer.relu_bits.data();
        }
        if (has_deeper) {
            input.pooled = layer.gradient;
            input.route_bits = layer.route_bits.data();
        }
        return input;
    }

    void backward(const WriteCotangent& write, float* image_gradient) {
        require(options.with_gradient, "this network was made without gradient");
        require(has_features, "backward needs a forward before it");
        has_features = false;
        bool has_gradient = false;  // deeper than the first cotangent it is zero: nothing to do
        std::size_t tap = tap_layers.size();
        for (std::size_t i = layers.size(); i-- > 0;) {
            Layer& layer = layers[i];
            const bool has_own =
                layer.is_tapped && write_cotangent(write, --tap, layer, has_gradient);
            if (!has_own && !has_gradient) continue;
            const ConvInput input = gradient_input(layer, has_own, has_gradient);
            has_gradient = true;
            if (i == 0) {
                finish_backward(input, image_gradient);
            } else {
                ConvStep& step = backward_steps[i - 1];
                step.conv.input = input;
                step.run(*pool, scratch);
            }
        }
        if (!has_gradient)
            std::fill(image_gradient, image_gradient + 3 * layers[0].positions(), 0.0f);
    }

    bool write_cotangent(const WriteCotangent& write, std::size_t tap, Layer& layer,
                         bool has_gradient) {
        float* target = layer.is_pooled ? layer.cotangent : layer.gradient;
        const bool add = has_gradient && !layer.is_pooled;
        if (!layer.planar_cotangent) return write(tap, blocked(layer, target), add);
        if (!write(tap, planar(layer, layer.planar_cotangent), false)) return false;
        if (!add) std::fill(target, target + map_floats(layer), 0.0f);
        add_planar(layer.planar_cotangent, blocked(layer, target));
        return true;
    }

    void finish_backward(const ConvInput& input, float* image_gradient) {
        const Layer& bottom = layers[0];
        const float* gradient = input.map;
        const std::uint8_t* bits = input.map_bits;
        if (bottom.is_pooled) {
            by_blocks(bottom.blocks, [&](std::size_t block) {
                kernels.maps.gather(input, bottom.height, bottom.width, static_cast<int>(block),
                                    gathered);
            });
            gradient = gathered;
            bits = nullptr;
        }
        by_rows([&](int begin, int end) {
            kernels.first->backward(first, gradient, bits, image_gradient, begin, end);
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

    /// A map in either layout, with its real channel count. (The functions of network.hpp go by
    /// that count.)
    FeatureMap blocked(const Layer& layer, float* data) const {
        return {data, layer.weights->outputs, layer.height, layer.width, kernels.lanes};
    }
    static FeatureMap planar(const Layer& layer, float* data) {
        return {data, layer.weights->outputs, layer.height, layer.width, 1};
    }

    FeatureMap feature(std::size_t tap) const {
        require(options.with_gradient, "a network without gradient keeps no features");
        const Layer& layer = layers[tap_layers.at(tap)];
        if (layer.planar_feature) return planar(layer, layer.planar_feature);
        return blocked(layer, layer.map);
    }

    std::size_t memory_bytes() const {
        return plan.bytes() + padded_floats * sizeof(float) + bit_bytes +
               scratch.bytes(pool->threads());
    }

    std::shared_ptr<NativeWeights> weights;
    NativeOptions options;
    std::shared_ptr<ThreadPool> pool;
    const ConvKernels& kernels;
    std::vector<Layer> layers;  // to the deepest tap
    std::vector<std::size_t> tap_layers;
    std::vector<std::string> taps;

    bool is_real;
    std::size_t padded_floats = 0, bit_bytes = 0;

    std::vector<PackedKernels> packed;  // held while this network lives
    MemoryPlan plan;
    float* gathered = nullptr;  // gradient of the first layer's map, where that layer is pooled
    WorkerScratch scratch;
    std::vector<ConvStep> forward_steps, backward_steps;  // of layer i at i - 1

    Buffer<float> padded;
    FirstLayer first;
    ForwardOutput first_output;
    int rows_per_task = 1;
    bool has_run = false;
    bool has_features = false;
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
void NativeNetwork::forward(const float* image) {
    require(state_->options.with_gradient, "a network without gradient keeps no features");
    state_->forward(image, nullptr);
}
void NativeNetwork::forward(const float* image, const Visit& visit) {
    state_->forward(image, &visit);
}
FeatureMap NativeNetwork::feature(std::size_t tap) { return state_->feature(tap); }
void NativeNetwork::backward(const WriteCotangent& write, float* image_gradient) {
    state_->backward(write, image_gradient);
}
std::array<int, 3> NativeNetwork::shape(std::size_t tap) const {
    const Layer& layer = state_->layers[state_->tap_layers.at(tap)];
    return {layer.weights->outputs, layer.height, layer.width};
}
std::size_t NativeNetwork::memory_bytes() const { return state_->memory_bytes(); }

std::size_t NativeNetwork::count_bytes(std::shared_ptr<NativeWeights> weights, int height,
                                       int width, const std::vector<std::string>& taps,
                                       const NativeOptions& options,
                                       std::shared_ptr<ThreadPool> pool) {
    return State(std::move(weights), height, width, taps, options, std::move(pool), false)
        .memory_bytes();
}

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
