// Activation terms, jitter and gradient ascent: what dreams are made of (Eq. 3).
#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/objective/activation.hpp"
#include "fastsynth/objective/jitter.hpp"
#include "fastsynth/optimize/ascent.hpp"
#include "fastsynth/optimize/laplacian.hpp"

namespace fastsynth {
namespace {

Measure measure_of(const std::string& name) {
    if (name == "energy") return Measure::energy;
    if (name == "sum") return Measure::sum;
    require(name == "mean", "measure must be energy, sum or mean, not ", name);
    return Measure::mean;
}

std::shared_ptr<ActivationTerm> make_activation(
    const std::string& measure, const std::vector<std::pair<int, double>>& channels,
    const std::optional<std::pair<double, double>>& neuron) {
    auto term = std::make_shared<ActivationTerm>(measure_of(measure), channels);
    if (neuron) term->place(neuron->first, neuron->second);
    return term;
}

std::shared_ptr<GuidedTerm> make_guided(const FloatArray& guide, const std::string& match) {
    require(guide.ndim() == 2, "a guide has shape (C, positions), not ", guide.ndim(),
            " dimensions");
    require(match == "dot" || match == "nearest", "match must be dot or nearest, not ", match);
    return std::make_shared<GuidedTerm>(guide.data(), static_cast<int>(guide.shape(0)),
                                        static_cast<int>(guide.shape(1)),
                                        match == "dot" ? Match::dot : Match::nearest);
}

/// The gradient normalised band by band, for tests.
FloatArray normalize_bands(const FloatArray& planes, int levels, ThreadPool& pool) {
    require(planes.ndim() == 3, "planes have shape (C, H, W)");
    FloatArray result(std::vector<py::ssize_t>(planes.shape(), planes.shape() + 3));
    std::copy(planes.data(), planes.data() + planes.size(), result.mutable_data());
    float* to = result.mutable_data();
    const int count = static_cast<int>(planes.shape(0)), height = static_cast<int>(planes.shape(1)),
              width = static_cast<int>(planes.shape(2));
    py::gil_scoped_release work;
    BandNormalizer(count, height, width, levels).apply(to, pool);
    return result;
}

}  // namespace

void register_dream(py::module_& module) {
    py::class_<ActivationTerm, LayerTerm, std::shared_ptr<ActivationTerm>>(module, "ActivationTerm")
        .def(py::init(&make_activation), py::arg("measure") = "energy",
             py::arg("channels") = std::vector<std::pair<int, double>>(),
             py::arg("neuron") = py::none());
    py::class_<GuidedTerm, LayerTerm, std::shared_ptr<GuidedTerm>>(module, "GuidedTerm")
        .def(py::init(&make_guided), py::arg("guide").noconvert(), py::arg("match") = "dot");

    py::class_<JitteredObjective, Objective, std::shared_ptr<JitteredObjective>>(
        module, "JitteredObjective")
        .def(py::init<std::shared_ptr<Objective>, int, int, int, std::uint64_t,
                      std::shared_ptr<ThreadPool>>(),
             py::arg("objective").none(false), py::arg("height"), py::arg("width"),
             py::arg("jitter"), py::arg("seed"), py::arg("pool").none(false));
    module.def(
        "jitter_shift",
        [](std::uint64_t seed, std::uint64_t count, int jitter) {
            const Shift shift = jitter_shift(seed, count, jitter);
            return std::pair<int, int>(shift.down, shift.across);
        },
        py::arg("seed"), py::arg("count"), py::arg("jitter"));

    py::class_<Ascent, Optimizer, std::shared_ptr<Ascent>>(module, "Ascent")
        .def(py::init([](double step, bool normalize, int levels, int height, int width, double low,
                         double high) {
                 return std::make_shared<Ascent>(
                     AscentSettings{step, normalize, levels, height, width, low, high});
             }),
             py::arg("step"), py::arg("normalize"), py::arg("levels"), py::arg("height"),
             py::arg("width"), py::arg("low"), py::arg("high"));
    module.def("normalize_bands", &normalize_bands, py::arg("planes").noconvert(),
               py::arg("levels"), py::arg("pool"));
}

}  // namespace fastsynth
