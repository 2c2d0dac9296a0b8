// Every kernel over the shapes of shapes.txt, its arrays between guard pages, against plain loops
// in float64. Without Python, so that sanitizers can watch: see scripts/sanitize.py.
//
//     fastsynth_tests shapes.txt        exit status 0 if all is well; FASTSYNTH_KERNELS picks the
//     set
#include "fastsynth/optimize/kernels.hpp"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "fastsynth/common/kernel_set.hpp"
#include "fastsynth/common/vector.hpp"
#include "fastsynth/network/native/native_network.hpp"
#include "fastsynth/objective/gram.hpp"
#include "fastsynth/objective/image_objective.hpp"
#include "fastsynth/objective/image_terms.hpp"
#include "fastsynth/objective/layer_terms.hpp"
#include "fastsynth/objective/tiled_objective.hpp"
#include "guard.hpp"
#include "kernels/conv_kernels.hpp"

namespace fastsynth {
namespace {

struct Shape {
    int inputs, outputs, height, width;
    std::size_t positions() const { return static_cast<std::size_t>(height) * width; }
};

int failures = 0;

/// ‖found - expected‖ ≤ limit · ‖expected‖.
void expect_close(const std::string& what, const std::vector<double>& found,
                  const std::vector<double>& expected, double limit) {
    double error = 0.0, size = 0.0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        error += (found[i] - expected[i]) * (found[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    if (std::sqrt(error) <= limit * std::sqrt(size)) return;
    std::printf("%s: off by %.2e of %.2e\n", what.c_str(), std::sqrt(error), std::sqrt(size));
    ++failures;
}

/// A fixed sequence in [-1, 1).
float next_value() {
    static std::uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(static_cast<std::int32_t>(state)) / 2147483648.0f;
}
template <class Array>
void fill(Array& values) {
    for (float& value : values) value = next_value();
}

std::vector<double> planar(Guarded<float>& blocked, int channels, const Shape& shape, int lanes) {
    std::vector<double> result;
    for (int c = 0; c < channels; ++c)
        for (std::size_t p = 0; p < shape.positions(); ++p)
            result.push_back(
                blocked[(static_cast<std::size_t>(c / lanes) * shape.positions() + p) * lanes +
                        c % lanes]);
    return result;
}

/// Σ over inputs and taps of a 3×3 convolution; weights(o, i, k).
template <class Weights>
std::vector<double> convolve(const std::vector<double>& in, int inputs, int outputs,
                             const Shape& shape, Weights weights) {
    std::vector<double> out(static_cast<std::size_t>(outputs) * shape.positions());
    for (int o = 0; o < outputs; ++o)
        for (int y = 0; y < shape.height; ++y)
            for (int x = 0; x < shape.width; ++x) {
                double sum = 0.0;
                for (int k = 0; k < 9; ++k) {
                    const int v = y + k / 3 - 1, u = x + k % 3 - 1;
                    if (v < 0 || u < 0 || v >= shape.height || u >= shape.width) continue;
                    for (int i = 0; i < inputs; ++i)
                        sum += weights(o, i, k) * in[i * shape.positions() +
                                                     static_cast<std::size_t>(v) * shape.width + u];
                }
                out[o * shape.positions() + static_cast<std::size_t>(y) * shape.width + x] = sum;
            }
    return out;
}

/// Forward or backward convolution with kept or temporary U, in tasks of 30 tiles.
void test_convolution(const Shape& shape, const WinogradKernels& winograd, bool is_backward,
                      bool is_transformed, Against side) {
    const ConvKernels& kernels = conv_kernels();
    const auto B = static_cast<std::size_t>(kernels.lanes);
    const int from = is_backward ? shape.outputs : shape.inputs;
    const int to = is_backward ? shape.inputs : shape.outputs;
    const int n = winograd.m + 2;
    Convolution conv;
    conv.is_backward = is_backward;
    conv.in_blocks = (from + kernels.lanes - 1) / kernels.lanes;
    conv.out_blocks = (to + kernels.lanes - 1) / kernels.lanes;
    conv.height = shape.height;
    conv.width = shape.width;
    conv.is_transformed = is_transformed;
    conv.stream = side == Against::back;
    const int packs = (to + kernels.out_pack - 1) / kernels.out_pack;
    const int channels = conv.in_blocks * kernels.lanes;
    const std::size_t plane = static_cast<std::size_t>(channels) * kernels.out_pack;
    const std::size_t transformed_floats =
        static_cast<std::size_t>(n * n) * winograd.weights_stride(channels);

    Guarded<float> plain(static_cast<std::size_t>(shape.outputs) * shape.inputs * 9, side);
    fill(plain);
    double squares = 0.0;
    for (float value : plain) squares += double(value) * value;
    conv.weights_rms = static_cast<float>(std::sqrt(squares / static_cast<double>(plain.size())));
    Guarded<float> arranged(packs * 9 * plane, side), transformed(packs * transformed_floats, side);
    for (int pack = 0; pack < packs; ++pack) {
        float* source = arranged.data() + pack * 9 * plane;
        kernels.arrange(plain.data(), shape.outputs, shape.inputs, is_backward, pack, source);
        winograd.transform_weights(source, channels,
                                   transformed.data() + pack * transformed_floats);
    }
    conv.weights = is_transformed ? transformed.data() : arranged.data();

    Guarded<float> in(conv.in_blocks * B * shape.positions(), side);
    for (int c = 0; c < from; ++c)
        for (std::size_t p = 0; p < shape.positions(); ++p)
            in[(c / B * shape.positions() + p) * B + c % B] = next_value();
    const std::size_t mask_bytes = static_cast<std::size_t>(kernels.mask_bytes);
    Guarded<std::uint8_t> in_bits(conv.in_blocks * mask_bytes * shape.positions(), side);
    Guarded<std::uint8_t> bits(conv.out_blocks * mask_bytes * shape.positions(), side);
    Guarded<std::uint8_t> route(bits.size(), side);
    Guarded<float> bias(static_cast<std::size_t>(packs) * kernels.out_pack, side);
    Guarded<float> out(conv.out_blocks * B * shape.positions(), side);
    Guarded<float> pooled(
        conv.out_blocks * B * static_cast<std::size_t>(shape.height / 2) * (shape.width / 2), side);
    conv.input.map = in.data();
    if (is_backward) {
        std::fill(in_bits.begin(), in_bits.end(), std::uint8_t{0xff});
        conv.input.map_bits = in_bits.data();
        conv.backward.map = out.data();
        conv.backward.scale = 0.5f;
    } else {
        std::fill(bias.begin(), bias.end(), 100.0f);  // so that every ReLU is open
        conv.forward.bias = bias.data();
        conv.forward.map = out.data();
        conv.forward.relu_bits = bits.data();
        conv.forward.pooled = pooled.size() ? pooled.data() : nullptr;
        conv.forward.route_bits = route.data();
    }
    const int tiles = (shape.height + winograd.m - 1) / winograd.m *
                      ((shape.width + winograd.m - 1) / winograd.m);
    for (int first = 0; first < tiles; first += 30) {
        ConvTask task;
        task.first_tile = first;
        task.tiles = std::min(30, tiles - first);
        task.last_output = packs;
        Guarded<float> scratch(winograd.scratch_floats(conv, task.tiles), side);
        task.scratch = scratch.data();
        winograd.run(conv, task);
    }

    const auto input = planar(in, from, shape, kernels.lanes);
    auto expected = convolve(input, from, to, shape, [&](int o, int i, int k) {
        const std::size_t place = is_backward ? (i * std::size_t(shape.inputs) + o) * 9 + (8 - k)
                                              : (o * std::size_t(shape.inputs) + i) * 9 + k;
        return plain[place];
    });
    for (double& value : expected) value = is_backward ? 0.5 * value : value + 100.0;
    std::ostringstream what;
    what << "convolution F" << winograd.m << (winograd.is_half ? " bfloat16" : "")
         << (is_backward ? " backward" : " forward") << " of " << shape.inputs << "x"
         << shape.outputs << "x" << shape.height << "x" << shape.width;
    expect_close(what.str(), planar(out, to, shape, kernels.lanes), expected,
                 winograd.is_half     ? 2e-2
                 : winograd.m == 6    ? 2e-5
                 : winograd.is_paired ? 6e-6
                                      : 3e-6);
}

/// Gram matrix and its product with features, of a blocked and of a planar map.
void test_gram(const Shape& shape, Against side, ThreadPool& pool) {
    const int channels = shape.outputs;
    Guarded<float> map(channels * shape.positions(), side), out(map.size(), side);
    Guarded<float> gram(static_cast<std::size_t>(channels) * channels, side);
    fill(map);
    for (int block : {1, conv_kernels().lanes}) {
        if (channels % block != 0) continue;
        const FeatureMap f{map.data(), channels, shape.height, shape.width, block};
        const FeatureMap to{out.data(), channels, shape.height, shape.width, block};
        GramProduct product;
        product.gram(f, gram.data(), pool);
        product.apply(f, gram.data(), 2.0, to, false, pool);
        product.apply(f, gram.data(), 1.0, to, true, pool, features_rms(gram.data(), channels));
        std::vector<float> plain(map.size()), result(map.size());
        to_planar(f, plain.data());
        to_planar(to, result.data());
        std::vector<double> expected, expected_out(map.size());
        for (int a = 0; a < channels; ++a)
            for (int b = 0; b < channels; ++b) {
                double sum = 0.0;
                for (std::size_t p = 0; p < shape.positions(); ++p)
                    sum +=
                        double(plain[a * shape.positions() + p]) * plain[b * shape.positions() + p];
                expected.push_back(sum / static_cast<double>(shape.positions()));
                for (std::size_t p = 0; p < shape.positions(); ++p)
                    expected_out[a * shape.positions() + p] +=
                        3.0 * expected.back() * plain[b * shape.positions() + p];
            }
        expect_close("gram", {gram.begin(), gram.end()}, expected, 1e-6);
        expect_close("gram product", {result.begin(), result.end()}, expected_out, 2e-6);
    }
}

/// Vector and optimiser kernels of every length up to some registers.
void test_vectors(Against side) {
    const VectorKernels& k = vector_kernels();
    const OptimizerKernels& o = optimizer_kernels();
    for (std::size_t n = 0; n < 140; ++n) {
        Guarded<float> x(n, side), y(n, side), z(n, side), w(n, side), s(n, side), t(n, side);
        for (auto* array : {&x, &y, &z, &w}) fill(*array);
        double dot = 0.0, distance = 0.0, combined = 0.0;
        for (std::size_t i = 0; i < n; ++i) {
            dot += double(x[i]) * y[i];
            distance += (double(x[i]) - y[i]) * (double(x[i]) - y[i]);
            combined += (2.0 * x[i] + 3.0 * y[i]) * w[i];
        }
        expect_close("dot", {k.dot(x.data(), y.data(), n)}, {dot}, 1e-12);
        expect_close("difference2", {k.difference2(x.data(), y.data(), n)}, {distance}, 1e-12);
        expect_close("scaled_difference",
                     {k.scaled_difference(0.5, x.data(), y.data(), z.data(), n, true)}, {distance},
                     1e-12);
        if (!std::isfinite(k.sum(x.data(), n) + k.norm1(x.data(), n) + k.max_abs(x.data(), n)))
            ++failures;
        k.axpy(0.5f, x.data(), z.data(), n);
        k.axpby(0.5f, x.data(), 0.25f, z.data(), n);
        k.scale(2.0f, z.data(), n);
        const double found = o.combine_dot(2.0f, x.data(), 3.0f, y.data(), w.data(), z.data(), n);
        if (std::abs(found - combined) > 1e-5 * (1.0 + std::abs(combined))) ++failures;
        o.move(x.data(), 0.5f, y.data(), z.data(), n);
        o.difference(x.data(), y.data(), z.data(), w.data(), s.data(), t.data(), n);
        for (float& value : t) value = std::abs(value);
        o.adam({0.9f, 0.999f, 0.1f, 1.0f, 1e-8f}, x.data(), s.data(), t.data(), z.data(), n);
    }
}

/// Three layers of these channels, with pooling after layer `pooled`.
std::shared_ptr<NativeWeights> make_weights(const std::vector<int>& channels, int pooled) {
    std::vector<ConvWeights> layers;
    for (int i = 0; i + 1 < static_cast<int>(channels.size()); ++i) {
        const int from = channels[static_cast<std::size_t>(i)],
                  to = channels[static_cast<std::size_t>(i) + 1];
        const std::size_t size = static_cast<std::size_t>(from) * to * 9;
        std::shared_ptr<float> kernel(new float[size], std::default_delete<float[]>());
        std::shared_ptr<float> bias(new float[to], std::default_delete<float[]>());
        for (std::size_t j = 0; j < size; ++j) kernel.get()[j] = 0.3f * next_value();
        for (int j = 0; j < to; ++j) bias.get()[j] = 0.1f * next_value();
        layers.push_back({"layer" + std::to_string(i), to, from, kernel, bias, i == pooled});
    }
    return std::make_shared<NativeWeights>(
        layers, std::array<float, 12>{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0});
}

/// A whole network with terms on two threads: equal to one thread bit by bit, gradient as the
/// values' differences say. Covers first layer, pooling, bits, gather, terms, image terms.
/// `fast`: products in bfloat16 or F(6×6), whose values are too rough for differences.
void test_network(const Shape& shape, bool average, int pooled, bool fast) {
    if (shape.height < 2 || shape.width < 2) return;
    const auto weights = make_weights({3, shape.inputs, shape.outputs, 16}, pooled);
    std::vector<float> image(3 * shape.positions());
    fill(image);
    std::vector<float> gradients[2];
    for (int threads : {1, 2}) {
        const auto pool = std::make_shared<ThreadPool>(threads);
        NativeOptions options;
        options.average_pooling = average;
        options.fast = fast;
        const std::vector<std::string> taps = {"layer0", "layer1", "layer2"};
        const auto network = std::make_shared<NativeNetwork>(weights, shape.height, shape.width,
                                                             taps, options, pool);
        ImageObjective objective({network}, shape.height, shape.width, pool);
        for (std::size_t tap = 0; tap < taps.size(); ++tap) {
            const auto [channels, height, width] = network->shape(tap);
            const std::vector<float> gram(static_cast<std::size_t>(channels) * channels, 0.1f);
            const std::vector<float> content(static_cast<std::size_t>(channels) * height * width,
                                             0.1f);
            objective.add_layer_term(
                0, tap,
                std::make_shared<GramTerm>(gram.data(), channels, Normalization::normalized), 1.0,
                "style" + std::to_string(tap));
            objective.add_layer_term(
                0, tap,
                std::make_shared<ContentTerm>(content.data(), channels, height, width,
                                              Normalization::normalized),
                1.0, "content" + std::to_string(tap));
        }
        objective.add_image_term(std::make_shared<TotalVariation>(), 0.1, "variation");
        std::vector<float>& gradient = gradients[threads - 1];
        gradient.resize(image.size());
        objective.evaluate(image.data(), gradient.data());
        const double first = objective.evaluate(image.data(), gradient.data());
        if (fast) continue;
        // Along the gradient the value falls by about step · |g|².
        const double squared = vector_kernels().dot(gradient.data(), gradient.data(), image.size());
        const double step = 1e-4 * first / squared;
        std::vector<float> moved = image, unused(image.size());
        axpy(static_cast<float>(-step), gradient.data(), moved.data(), image.size(), *pool);
        const double fall = first - objective.evaluate(moved.data(), unused.data());
        expect_close("descent", {fall}, {step * squared}, 0.05);
    }
    if (gradients[0] != gradients[1]) {
        std::printf("the number of threads changed a gradient\n");
        ++failures;
    }
}

/// An image in tiles on two threads: value and gradient of the whole. `keep`: the content's
/// features are kept, else computed anew for every tile.
void test_tiles(bool keep) {
    constexpr int height = 37, width = 50;
    const auto weights = make_weights({3, 20, 24, 16}, 0);
    const auto pool = std::make_shared<ThreadPool>(2);
    const std::vector<std::string> taps = {"layer0", "layer2"};
    std::vector<float> image(3 * height * width), other(image.size());
    fill(image);
    fill(other);
    const TileSource source{other.data(), height, width, 0, TileSource::Border::reflected};

    const auto network =
        std::make_shared<NativeNetwork>(weights, height, width, taps, NativeOptions{}, pool);
    ImageObjective whole({network}, height, width, pool);
    const TileGrid grid(height, width, 2, 8, 8);  // halo: the deepest tap sees 1 + 2 (1 + 1) pixels
    const auto tile = std::make_shared<NativeNetwork>(weights, grid.height(), grid.width(), taps,
                                                      NativeOptions{}, pool);
    TiledObjective tiled({{tile, grid, {1, 2}}}, height, width, pool);

    for (std::size_t tap = 0; tap < taps.size(); ++tap) {
        const int channels = network->shape(tap)[0];
        const std::vector<float> gram(static_cast<std::size_t>(channels) * channels, 0.1f);
        for (ImageObjective* objective : {&whole, static_cast<ImageObjective*>(&tiled)})
            objective->add_layer_term(
                0, tap,
                std::make_shared<GramTerm>(gram.data(), channels, Normalization::normalized), 1.0,
                "style" + std::to_string(tap));
    }
    network->forward(other.data());
    const FeatureMap feature = network->feature(1);
    std::vector<float> content(feature.size());
    to_planar(feature, content.data());
    whole.add_layer_term(
        0, 1,
        std::make_shared<ContentTerm>(content.data(), feature.channels, feature.height,
                                      feature.width, Normalization::normalized),
        1.0, "content");
    tiled.add_content(0, 1, {{source, 1.0, nullptr}}, Normalization::normalized, keep, nullptr, 1.0,
                      "content");

    std::vector<float> expected(image.size()), found(image.size());
    const double value = whole.evaluate(image.data(), expected.data());
    expect_close("value in tiles", {tiled.evaluate(image.data(), found.data())}, {value}, 1e-5);
    expect_close("gradient in tiles", {found.begin(), found.end()},
                 {expected.begin(), expected.end()}, 1e-5);
}

/// Many short runs from two threads on one pool; exceptions come back.
void test_pool() {
    ThreadPool pool(3);
    std::atomic<std::int64_t> total{0};
    const auto use = [&] {
        for (int i = 0; i < 300; ++i)
            pool.run(i % 7, [&](std::int64_t task, int) { total += task + 1; });
    };
    std::thread other(use);
    use();
    other.join();
    std::int64_t expected = 0;
    for (int i = 0; i < 300; ++i) expected += (i % 7) * (i % 7 + 1);
    bool thrown = false;
    try {
        pool.run(20, [](std::int64_t task, int) {
            if (task == 7) throw std::runtime_error("seven");
        });
    } catch (const std::runtime_error&) {
        thrown = true;
    }
    if (total != expected || !thrown) {
        std::printf("the thread pool lost tasks or an exception\n");
        ++failures;
    }
}

int run(const char* path) {
    std::ifstream file(path);
    std::vector<Shape> shapes;
    for (std::string line; std::getline(file, line);) {
        std::istringstream values(line);
        Shape shape{};
        if (values >> shape.inputs >> shape.outputs >> shape.height >> shape.width)
            shapes.push_back(shape);
    }
    if (shapes.empty()) {
        std::printf("no shapes in %s\n", path);
        return 2;
    }
    ThreadPool pool(2);
    const ConvKernels& kernels = conv_kernels();
    for (Against side : {Against::front, Against::back}) {
        test_vectors(side);
        for (const Shape& shape : shapes) {
            for (const WinogradKernels* winograd :
                 {kernels.winograd4, kernels.winograd6, kernels.winograd4_half}) {
                if (!winograd) continue;
                for (bool is_backward : {false, true})
                    for (bool is_transformed : {false, true})
                        test_convolution(shape, *winograd, is_backward, is_transformed, side);
            }
            test_gram(shape, side, pool);
        }
    }
    for (const Shape& shape : shapes)
        for (bool average : {false, true})
            for (int pooled : {0, 1})
                for (bool fast : {false, true}) test_network(shape, average, pooled, fast);
    for (bool keep : {false, true}) test_tiles(keep);
    test_pool();
    std::printf("%s: %zu shapes, %d failures\n", name_of(kernel_set()), shapes.size(), failures);
    return failures ? 1 : 0;
}

}  // namespace
}  // namespace fastsynth

int main(int count, char** arguments) {
    return fastsynth::run(count > 1 ? arguments[1] : "cpp/tests/shapes.txt");
}
