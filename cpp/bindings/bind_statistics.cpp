// Style statistics beside the Gram matrix, and the views that show a term a part of the features.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/objective/moment_terms.hpp"
#include "fastsynth/objective/slice_term.hpp"
#include "fastsynth/objective/view_terms.hpp"

namespace fastsynth {
namespace {

std::vector<float> values_of(const FloatArray& array) {
    return {array.data(), array.data() + array.size()};
}

SecondMoment second_of(const std::string& name) {
    if (name == "none") return SecondMoment::none;
    if (name == "deviation") return SecondMoment::deviation;
    if (name == "gram") return SecondMoment::gram;
    require(name == "covariance", "second moments are none, deviation, gram or covariance, not ",
            name);
    return SecondMoment::covariance;
}

std::shared_ptr<WindowTerm> make_window(std::shared_ptr<LayerTerm> inner, int rows, int columns,
                                        int top, int left, int height, int width,
                                        const std::optional<FloatArray>& guide) {
    require(!guide || (guide->ndim() == 2 && guide->shape(0) == height && guide->shape(1) == width),
            "a guide has the window's shape, ", height, " x ", width);
    return std::make_shared<WindowTerm>(std::move(inner), rows, columns,
                                        Window{top, left, height, width},
                                        guide ? guide->data() : nullptr);
}

std::shared_ptr<ProjectedTerm> make_projected(std::shared_ptr<LayerTerm> inner,
                                              const FloatArray& mixtures, int pooling) {
    require(mixtures.ndim() == 2, "mixtures have shape (count, channels)");
    return std::make_shared<ProjectedTerm>(std::move(inner), mixtures.data(),
                                           static_cast<int>(mixtures.shape(0)),
                                           static_cast<int>(mixtures.shape(1)), pooling);
}

std::shared_ptr<SliceTerm> make_slice(const FloatArray& directions, const FloatArray& targets,
                                      const std::optional<FloatArray>& phases, double scale,
                                      int most) {
    require(directions.ndim() == 2, "directions have shape (count, channels)");
    const int channels = static_cast<int>(directions.shape(1));
    if (!phases)
        return std::make_shared<SliceTerm>(
            SliceTerm::quantiles(values_of(directions), channels, values_of(targets), scale, most));
    return std::make_shared<SliceTerm>(SliceTerm::cosines(
        values_of(directions), channels, values_of(*phases), values_of(targets), scale, most));
}

}  // namespace

void register_statistics(py::module_& module) {
    py::class_<MomentsTerm, LayerTerm, std::shared_ptr<MomentsTerm>>(module, "MomentsTerm")
        .def(py::init([](const FloatArray& mean, const FloatArray& second, const std::string& kind,
                         double mean_weight, double second_weight) {
                 return std::make_shared<MomentsTerm>(values_of(mean), values_of(second),
                                                      second_of(kind), mean_weight, second_weight);
             }),
             py::arg("mean").noconvert(), py::arg("second").noconvert(), py::arg("kind"),
             py::arg("mean_weight") = 1.0, py::arg("second_weight") = 1.0)
        .def_property_readonly("mean", &MomentsTerm::mean)
        .def_property_readonly("variance", &MomentsTerm::variance)
        .def_property_readonly("gram", [](const MomentsTerm& term) {
            const auto n = static_cast<py::ssize_t>(term.mean().size());
            const std::vector<float> values = term.gram();
            FloatArray result({n, n});
            std::copy(values.begin(), values.end(), result.mutable_data());
            return result;
        });
    py::class_<SliceTerm, LayerTerm, std::shared_ptr<SliceTerm>>(module, "SliceTerm")
        .def(py::init(&make_slice), py::arg("directions").noconvert(),
             py::arg("targets").noconvert(), py::arg("phases").noconvert() = py::none(),
             py::arg("scale") = 1.0, py::arg("most") = 16384);
    py::class_<WindowTerm, LayerTerm, std::shared_ptr<WindowTerm>>(module, "WindowTerm")
        .def(py::init(&make_window), py::arg("inner").none(false), py::arg("rows"),
             py::arg("columns"), py::arg("top"), py::arg("left"), py::arg("height"),
             py::arg("width"), py::arg("guide").noconvert() = py::none());
    py::class_<ProjectedTerm, LayerTerm, std::shared_ptr<ProjectedTerm>>(module, "ProjectedTerm")
        .def(py::init(&make_projected), py::arg("inner").none(false),
             py::arg("mixtures").noconvert(), py::arg("pooling") = 1);
}

}  // namespace fastsynth
