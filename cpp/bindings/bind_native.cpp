// NativeWeights and NativeNetwork, with whole-pass calls on NumPy arrays for tests and for use
// without an objective.
#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/network/native/native_network.hpp"
#include "fastsynth/network/native/probes.hpp"

namespace fastsynth {
namespace {

double steady_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

/// Shares the array's memory with C++; the last owner drops the array with the GIL held.
std::shared_ptr<const float> share(FloatArray array) {
    const float* data = array.data();
    auto* held = new FloatArray(std::move(array));
    return {data, [held](const float*) {
                py::gil_scoped_acquire gil;
                delete held;
            }};
}

/// (name, kernel (O, I, 3, 3), bias (O,), pooled afterwards)
using LayerTuple = std::tuple<std::string, FloatArray, FloatArray, bool>;

std::shared_ptr<NativeWeights> make_weights(const std::vector<LayerTuple>& tuples,
                                            const FloatArray& matrix, const FloatArray& offset) {
    std::vector<ConvWeights> layers;
    for (const auto& [name, kernel, bias, pool_after] : tuples) {
        require(kernel.ndim() == 4 && kernel.shape(2) == 3 && kernel.shape(3) == 3,
                "the kernel of ", name, " must have shape (O, I, 3, 3)");
        require(bias.ndim() == 1 && bias.shape(0) == kernel.shape(0), "the bias of ", name,
                " must have shape (", kernel.shape(0), ",)");
        layers.push_back({name, static_cast<int>(kernel.shape(0)),
                          static_cast<int>(kernel.shape(1)), share(kernel), share(bias),
                          pool_after});
    }
    require(
        matrix.ndim() == 2 && matrix.shape(0) == 3 && matrix.shape(1) == 3 && offset.size() == 3,
        "normalise needs a matrix (3, 3) and an offset (3,)");
    std::array<float, 12> normalise;
    std::copy_n(matrix.data(), 9, normalise.begin());
    std::copy_n(offset.data(), 3, normalise.begin() + 9);
    py::gil_scoped_release release;
    return std::make_shared<NativeWeights>(std::move(layers), normalise);
}

bool parse(const std::string& value, const char* no, const char* yes, const char* what) {
    require(value == no || value == yes, what, " must be \"", no, "\" or \"", yes, "\", not \"",
            value, "\"");
    return value == yes;
}

std::shared_ptr<NativeNetwork> make_network(std::shared_ptr<NativeWeights> weights, int height,
                                            int width, const std::vector<std::string>& taps,
                                            const std::string& pooling,
                                            const std::string& precision, bool with_gradient,
                                            std::shared_ptr<ThreadPool> pool) {
    NativeOptions options;
    options.average_pooling = parse(pooling, "max", "avg", "pooling");
    options.fast = parse(precision, "exact", "fast", "precision");
    options.with_gradient = with_gradient;
    py::gil_scoped_release release;
    if (!pool) pool = std::make_shared<ThreadPool>();
    return std::make_shared<NativeNetwork>(std::move(weights), height, width, taps, options,
                                           std::move(pool));
}

std::size_t count_bytes(std::shared_ptr<NativeWeights> weights, int height, int width,
                        const std::vector<std::string>& taps, const std::string& precision,
                        bool with_gradient, std::shared_ptr<ThreadPool> pool) {
    NativeOptions options;
    options.fast = parse(precision, "exact", "fast", "precision");
    options.with_gradient = with_gradient;
    return NativeNetwork::count_bytes(std::move(weights), height, width, taps, options,
                                      std::move(pool));
}

/// Copies of all features, planar.
std::vector<FloatArray> forward(NativeNetwork& network, const FloatArray& image) {
    require(image.ndim() == 3 && image.shape(0) == 3 && image.shape(1) == network.height() &&
                image.shape(2) == network.width(),
            "the image must have shape (3, ", network.height(), ", ", network.width(), ")");
    std::vector<FloatArray> features;
    std::vector<float*> targets;
    for (std::size_t tap = 0; tap < network.taps().size(); ++tap) {
        const auto [channels, height, width] = network.shape(tap);
        features.emplace_back(std::vector<py::ssize_t>{channels, height, width});
        targets.push_back(features.back().mutable_data());
    }
    const float* data = image.data();
    py::gil_scoped_release release;
    network.forward(data, [&](std::size_t tap, const FeatureMap& feature) {
        to_planar(feature, targets[tap]);
    });
    return features;
}

FloatArray backward(NativeNetwork& network, const std::vector<FloatArray>& cotangents) {
    require(cotangents.size() == network.taps().size(), "expected ", network.taps().size(),
            " cotangents, one per tap, not ", cotangents.size());
    std::vector<const float*> sources;
    for (std::size_t tap = 0; tap < cotangents.size(); ++tap) {
        const auto [channels, height, width] = network.shape(tap);
        const FloatArray& array = cotangents[tap];
        require(array.ndim() == 3 && array.shape(0) == channels && array.shape(1) == height &&
                    array.shape(2) == width,
                "the cotangent of ", network.taps()[tap], " must have shape (", channels, ", ",
                height, ", ", width, ")");
        sources.push_back(array.data());
    }
    FloatArray gradient(
        {py::ssize_t{3}, py::ssize_t{network.height()}, py::ssize_t{network.width()}});
    float* data = gradient.mutable_data();
    const auto write = [&](std::size_t tap, const FeatureMap& map, bool add) {
        if (!add) std::fill(map.data, map.data + map.size(), 0.0f);
        add_planar(sources[tap], map);
        return true;
    };
    py::gil_scoped_release release;
    network.backward(write, data);
    return gradient;
}

/// Seconds of (forward, backward), `count` times, by any network. Every cotangent is `cotangent`.
std::vector<std::pair<double, double>> time_passes(Network& network, const FloatArray& image,
                                                   int count, float cotangent) {
    require(image.size() == py::ssize_t{3} * network.height() * network.width(),
            "the image does not fit the network");
    std::vector<float> gradient(static_cast<std::size_t>(image.size()));
    std::vector<std::pair<double, double>> seconds;
    const float* data = image.data();
    double writing = 0.0;  // is no part of the network's time
    const auto write = [&](std::size_t, const FeatureMap& map, bool add) {
        const double start = steady_seconds();
        if (!add)
            std::fill(map.data, map.data + map.size(), cotangent);
        else
            for (std::size_t i = 0; i < map.size(); ++i) map.data[i] += cotangent;
        writing += steady_seconds() - start;
        return true;
    };
    py::gil_scoped_release release;
    for (int i = 0; i < count; ++i) {
        const double start = steady_seconds();
        network.forward(data);
        const double middle = steady_seconds();
        writing = 0.0;
        network.backward(write, gradient.data());
        seconds.emplace_back(middle - start, steady_seconds() - middle - writing);
    }
    return seconds;
}

py::list profile(const NativeNetwork& network) {
    py::list rows;
    for (const LayerProfile& layer : network.profile()) {
        py::dict row;
        row["name"] = layer.name;
        row["direction"] = layer.backward ? "backward" : "forward";
        row["m"] = layer.m;
        row["direct_flops"] = layer.direct_flops;
        row["product_flops"] = layer.product_flops;
        row["wall_seconds"] = layer.wall_seconds;
        row["input_seconds"] = layer.part_seconds[0];
        row["product_seconds"] = layer.part_seconds[1];
        row["output_seconds"] = layer.part_seconds[2];
        row["passes"] = layer.passes;
        rows.append(row);
    }
    return rows;
}

/// Calls a probe that maps one small square array to another.
FloatArray transform(const FloatArray& in, int edge, void (*probe)(int, const float*, float*),
                     int m) {
    require(m == 4 || m == 6, "m must be 4 or 6, not ", m);
    FloatArray out({py::ssize_t{edge}, py::ssize_t{edge}});
    probe(m, in.data(), out.mutable_data());
    return out;
}

}  // namespace

void register_native(py::module_& module) {
    py::class_<NativeWeights, std::shared_ptr<NativeWeights>>(module, "NativeWeights")
        .def(py::init(&make_weights), py::arg("layers"), py::arg("matrix"), py::arg("offset"))
        .def_property_readonly("memory_bytes", &NativeWeights::memory_bytes);

    py::class_<NativeNetwork, Network, std::shared_ptr<NativeNetwork>>(module, "NativeNetwork")
        .def(py::init(&make_network), py::arg("weights"), py::arg("height"), py::arg("width"),
             py::arg("taps"), py::arg("pooling") = "max", py::arg("precision") = "exact",
             py::arg("with_gradient") = true, py::arg("pool") = nullptr)
        .def("forward", &forward, py::arg("image"))
        .def("backward", &backward, py::arg("cotangents"))
        .def_property_readonly("memory_bytes", &NativeNetwork::memory_bytes)
        .def_static("count_bytes", &count_bytes, py::arg("weights"), py::arg("height"),
                    py::arg("width"), py::arg("taps"), py::arg("precision"),
                    py::arg("with_gradient"), py::arg("pool").none(false))
        .def("set_profiling", &NativeNetwork::set_profiling, py::arg("on"))
        .def("profile", &profile);

    module.def("time_passes", &time_passes, py::arg("network"), py::arg("image"),
               py::arg("count") = 1, py::arg("cotangent") = 1e-3f);

    // What tests and benchmarks look at: the transforms alone, and the machine's peak of
    // multiply-adds.
    module.def("winograd_input", [](const FloatArray& tile, int m) {
        require(tile.size() == (m + 2) * (m + 2), "the tile must be (m + 2) by (m + 2)");
        return transform(tile, m + 2, probe_input_transform, m);
    });
    module.def("winograd_output", [](const FloatArray& sums, int m) {
        require(sums.size() == (m + 2) * (m + 2), "the sums must be (m + 2) by (m + 2)");
        return transform(sums, m, probe_output_transform, m);
    });
    module.def("winograd_kernel", [](const FloatArray& kernel, int m) {
        require(kernel.size() == 9, "the kernel must be 3 by 3");
        return transform(kernel, m + 2, probe_kernel_transform, m);
    });
    module.def("multiply_add_peak", &probe_multiply_add_peak, py::arg("threads"),
               py::arg("seconds") = 0.2, py::call_guard<py::gil_scoped_release>());
}

}  // namespace fastsynth
