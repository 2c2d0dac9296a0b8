// Terms of regions, shifts and octaves, and the term whose function of mean and covariance is
// written in Python.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/objective/guided_terms.hpp"
#include "fastsynth/objective/octave_term.hpp"
#include "fastsynth/objective/shifted_gram.hpp"

namespace fastsynth {
namespace {

using DoubleArray = py::array_t<double, py::array::c_style | py::array::forcecast>;
using PositionArray = py::array_t<std::int32_t, py::array::c_style>;

std::vector<float> values_of(const std::optional<FloatArray>& array) {
    if (!array) return {};
    return {array->data(), array->data() + array->size()};
}

/// function(mean (C), covariance (C, C)) -> (value, dvalue/dmean, dvalue/dcovariance), in float64.
class MomentFunctionTerm final : public GaussianTerm {
  public:
    MomentFunctionTerm(py::function function, int channels, std::vector<float> roots)
        : GaussianTerm(channels, std::move(roots)), function_(std::move(function)) {}

    ~MomentFunctionTerm() override {
        py::gil_scoped_acquire gil;
        function_ = {};
    }

  protected:
    double judge(const std::vector<double>& mean, float* covariance,
                 std::vector<double>& slope) override {
        py::gil_scoped_acquire gil;
        const auto n = static_cast<py::ssize_t>(mean.size());
        DoubleArray means(n);
        DoubleArray second({n, n});
        std::copy(mean.begin(), mean.end(), means.mutable_data());
        std::copy(covariance, covariance + n * n, second.mutable_data());
        const py::object result = function_(means, second);
        require(py::isinstance<py::tuple>(result) && py::len(result) == 3,
                "the function must return (value, slope of the mean, slope of the covariance)");
        const auto parts = result.cast<py::tuple>();
        const auto first = parts[1].cast<DoubleArray>(), matrix = parts[2].cast<DoubleArray>();
        require(first.size() == n && matrix.size() == n * n, "the function's slopes must have ", n,
                " and ", n * n, " values, not ", first.size(), " and ", matrix.size());
        std::copy(first.data(), first.data() + n, slope.begin());
        // Only the symmetric part of a slope moves a covariance.
        for (py::ssize_t i = 0; i < n; ++i)
            for (py::ssize_t j = 0; j < n; ++j)
                covariance[i * n + j] =
                    static_cast<float>(0.5 * (matrix.data()[i * n + j] + matrix.data()[j * n + i]));
        return parts[0].cast<double>();
    }

  private:
    py::function function_;
};

std::shared_ptr<ShiftedGramTerm> make_shifted(const FloatArray& targets, std::vector<int> shifts,
                                              const FloatArray& centre, double scale) {
    return std::make_shared<ShiftedGramTerm>(values_of(targets), std::move(shifts),
                                             values_of(centre), scale);
}

/// Planes (C, H, W) of the next octave.
FloatArray reduce_planes(const FloatArray& planes) {
    require(planes.ndim() == 3 && planes.size() > 0,
            "planes have shape (C, H, W) with at least one value, not ", planes.ndim(),
            " dimensions");
    const int height = static_cast<int>(planes.shape(1)), width = static_cast<int>(planes.shape(2));
    FloatArray reduced({planes.shape(0), static_cast<py::ssize_t>(octave_size(height)),
                        static_cast<py::ssize_t>(octave_size(width))});
    const float* from = planes.data();
    float* to = reduced.mutable_data();
    const py::ssize_t count = planes.shape(0);
    const py::ssize_t in = planes.size() / count, out = reduced.size() / count;
    py::gil_scoped_release work;
    for (py::ssize_t c = 0; c < count; ++c)
        reduce_octave(from + c * in, height, width, to + c * out);
    return reduced;
}

}  // namespace

void register_structure(py::module_& module) {
    py::class_<GatherTerm, LayerTerm, std::shared_ptr<GatherTerm>>(module, "GatherTerm")
        .def(py::init([](std::shared_ptr<LayerTerm> inner, int rows, int columns,
                         const PositionArray& positions, const std::optional<FloatArray>& roots) {
                 return std::make_shared<GatherTerm>(
                     std::move(inner), rows, columns,
                     std::vector<std::int32_t>(positions.data(),
                                               positions.data() + positions.size()),
                     values_of(roots));
             }),
             py::arg("inner").none(false), py::arg("rows"), py::arg("columns"),
             py::arg("positions").noconvert(), py::arg("roots").noconvert() = py::none());
    py::class_<CovarianceTerm, LayerTerm, std::shared_ptr<CovarianceTerm>>(module, "CovarianceTerm")
        .def(py::init([](const FloatArray& mean, const FloatArray& covariance, double mean_weight,
                         double covariance_weight, const std::optional<FloatArray>& roots) {
                 return std::make_shared<CovarianceTerm>(values_of(mean), values_of(covariance),
                                                         mean_weight, covariance_weight,
                                                         values_of(roots));
             }),
             py::arg("mean").noconvert(), py::arg("covariance").noconvert(),
             py::arg("mean_weight") = 1.0, py::arg("covariance_weight") = 1.0,
             py::arg("roots").noconvert() = py::none());
    py::class_<MomentFunctionTerm, LayerTerm, std::shared_ptr<MomentFunctionTerm>>(
        module, "MomentFunctionTerm")
        .def(py::init(
                 [](py::function function, int channels, const std::optional<FloatArray>& roots) {
                     return std::make_shared<MomentFunctionTerm>(std::move(function), channels,
                                                                 values_of(roots));
                 }),
             py::arg("function"), py::arg("channels"), py::arg("roots").noconvert() = py::none());
    py::class_<ShiftedGramTerm, LayerTerm, std::shared_ptr<ShiftedGramTerm>>(module,
                                                                             "ShiftedGramTerm")
        .def(py::init(&make_shifted), py::arg("targets").noconvert(), py::arg("shifts"),
             py::arg("centre").noconvert(), py::arg("scale") = 1.0);
    py::class_<OctaveTerm, ImageTerm, std::shared_ptr<OctaveTerm>>(module, "OctaveTerm")
        .def(py::init<std::shared_ptr<Objective>, int>(), py::arg("inner").none(false),
             py::arg("octaves") = 1);
    module.def("reduce_octave", &reduce_planes, py::arg("planes").noconvert());
}

}  // namespace fastsynth
