// Terms, ImageObjective, and the two classes whose work is a Python function: FunctionTerm and
// FunctionObjective.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"
#include "fastsynth/objective/gram.hpp"
#include "fastsynth/objective/image_objective.hpp"
#include "fastsynth/objective/image_terms.hpp"
#include "fastsynth/objective/layer_terms.hpp"
#include "fastsynth/objective/objective.hpp"

namespace fastsynth {
namespace {

/// What a Python function returns: any array of numbers, converted.
using ConvertedArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

/// Calls function(argument), which must return (value, gradient) with a gradient of the argument's
/// shape. GIL held.
std::pair<double, ConvertedArray> value_and_gradient(const py::function& function,
                                                     const FloatArray& argument) {
    const py::object result = function(argument);
    require(py::isinstance<py::tuple>(result) && py::len(result) == 2,
            "the function must return (value, gradient), not a ",
            std::string(py::str(py::type::of(result).attr("__name__"))));
    const auto pair = result.cast<py::tuple>();
    const auto gradient = pair[1].cast<ConvertedArray>();
    const bool fits =
        gradient.ndim() == argument.ndim() &&
        std::equal(gradient.shape(), gradient.shape() + gradient.ndim(), argument.shape());
    require(fits, "the function must return a gradient of shape ",
            std::string(py::str(argument.attr("shape"))), ", not ",
            std::string(py::str(gradient.attr("shape"))));
    return {pair[0].cast<double>(), gradient};
}

/// function(x) -> (value, gradient), both for a flat float32 vector: any function to minimise, also
/// in tests of optimisers.
class FunctionObjective final : public Objective {
  public:
    FunctionObjective(py::function function, std::size_t size)
        : function_(std::move(function)), size_(size), values_(1, 0.0) {
        require(size > 0, "size must be at least 1, not 0");
    }

    ~FunctionObjective() override {
        // Whatever thread drops the last reference, Python objects go with the GIL held.
        py::gil_scoped_acquire gil;
        function_ = {};
    }

    std::size_t size() const override { return size_; }
    const std::vector<std::string>& names() const override { return names_; }
    const std::vector<double>& values() const override { return values_; }

    double evaluate(const float* x, float* gradient) override {
        py::gil_scoped_acquire gil;
        FloatArray argument(static_cast<py::ssize_t>(size_));
        std::copy(x, x + size_, argument.mutable_data());
        const auto result = value_and_gradient(function_, argument);
        std::copy(result.second.data(), result.second.data() + size_, gradient);
        values_[0] = result.first;
        return result.first;
    }

  private:
    py::function function_;
    std::size_t size_;
    std::vector<std::string> names_{"function"};
    std::vector<double> values_;
};

/// objective.evaluate(x) -> (value, gradient of x's shape).
std::pair<double, FloatArray> evaluate(Objective& objective, const FloatArray& x) {
    require(static_cast<std::size_t>(x.size()) == objective.size(), "x has ", x.size(),
            " values; this objective has ", objective.size(), " variables");
    FloatArray gradient(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
    const float* from = x.data();
    float* to = gradient.mutable_data();
    double value = 0.0;
    {
        py::gil_scoped_release work;
        value = objective.evaluate(from, to);
    }
    return {value, std::move(gradient)};
}

/// function(features) -> (value, gradient), both (C, H, W): a layer term written in Python,
/// whatever the network's layout.
class FunctionTerm final : public LayerTerm {
  public:
    explicit FunctionTerm(py::function function) : function_(std::move(function)) {}

    ~FunctionTerm() override {
        py::gil_scoped_acquire gil;
        function_ = {};
    }

    void bind(const FeatureMap&) override {}

    double evaluate(const FeatureMap& feature, const Cotangent& cotangent, ThreadPool&) override {
        py::gil_scoped_acquire gil;
        FloatArray planar({feature.channels, feature.height, feature.width});
        to_planar(feature, planar.mutable_data());
        const auto result = value_and_gradient(function_, planar);
        const ConvertedArray& slope = result.second;
        if (cotangent.weight == 0.0) return result.first;
        std::vector<float> weighted(slope.data(), slope.data() + slope.size());
        for (float& value : weighted) value = static_cast<float>(value * cotangent.weight);
        if (!cotangent.add)
            std::fill(cotangent.map.data, cotangent.map.data + feature.size(), 0.0f);
        add_planar(weighted.data(), cotangent.map);
        return result.first;
    }

  private:
    py::function function_;
};

/// function(image) -> (value, gradient), both (3, H, W): an image term written in Python.
class FunctionImageTerm final : public ImageTerm {
  public:
    explicit FunctionImageTerm(py::function function) : function_(std::move(function)) {}

    ~FunctionImageTerm() override {
        py::gil_scoped_acquire gil;
        function_ = {};
    }

    double evaluate(const float* image, int height, int width, double weight, float* gradient,
                    ThreadPool&) override {
        py::gil_scoped_acquire gil;
        FloatArray argument({3, height, width});
        std::copy(image, image + argument.size(), argument.mutable_data());
        const auto result = value_and_gradient(function_, argument);
        const float* slope = result.second.data();
        if (weight != 0.0)
            for (py::ssize_t i = 0; i < argument.size(); ++i)
                gradient[i] += static_cast<float>(weight * slope[i]);
        return result.first;
    }

  private:
    py::function function_;
};

}  // namespace

Normalization normalization_of(const std::string& name) {
    if (name == "relative") return Normalization::relative;
    if (name == "paper") return Normalization::paper;
    require(name == "normalized", "normalization must be relative, paper or normalized, not ",
            name);
    return Normalization::normalized;
}

namespace {

Average average_of(const std::string& name) {
    if (name == "mean") return Average::mean;
    require(name == "sum", "average must be mean or sum, not ", name);
    return Average::sum;
}

std::shared_ptr<ContentTerm> make_content(const FloatArray& target,
                                          const std::string& normalization) {
    require(target.ndim() == 3, "a content target has shape (C, H, W), not ", target.ndim(),
            " dimensions");
    return std::make_shared<ContentTerm>(
        target.data(), static_cast<int>(target.shape(0)), static_cast<int>(target.shape(1)),
        static_cast<int>(target.shape(2)), normalization_of(normalization));
}

std::shared_ptr<GramTerm> make_gram(const FloatArray& target, const std::string& normalization) {
    require(target.ndim() == 2 && target.shape(0) == target.shape(1),
            "a Gram target has shape (C, C)");
    return std::make_shared<GramTerm>(target.data(), static_cast<int>(target.shape(0)),
                                      normalization_of(normalization));
}

/// Features as an array: (C, H, W) for block 1, else (C / block, H, W, block).
FeatureMap map_of(const FloatArray& features, int block) {
    require(block >= 1, "block must be at least 1, not ", block);
    require(features.ndim() == (block == 1 ? 3 : 4) && (block == 1 || features.shape(3) == block),
            "features have shape (C, H, W), or (C / block, H, W, block)");
    // Reading only: the pointer loses its const because one type serves features and cotangents.
    return {const_cast<float*>(features.data()), static_cast<int>(features.shape(0)) * block,
            static_cast<int>(features.shape(1)), static_cast<int>(features.shape(2)), block};
}

FloatArray like(const FloatArray& array) {
    return FloatArray(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
}

/// F Fᵀ / M
FloatArray gram(const FloatArray& features, ThreadPool& pool, int block) {
    const FeatureMap map = map_of(features, block);
    FloatArray result({map.channels, map.channels});
    float* to = result.mutable_data();
    py::gil_scoped_release work;
    GramProduct().gram(map, to, pool);
    return result;
}

/// scale · D F, in the layout of F. rms: of F, if it is known.
FloatArray gram_gradient(const FloatArray& features, const FloatArray& matrix, double scale,
                         ThreadPool& pool, int block, double rms) {
    const FeatureMap map = map_of(features, block);
    require(
        matrix.ndim() == 2 && matrix.shape(0) == map.channels && matrix.shape(1) == map.channels,
        "the matrix must be ", map.channels, " x ", map.channels);
    FloatArray result = like(features);
    FeatureMap out = map;
    out.data = result.mutable_data();
    const float* d = matrix.data();
    py::gil_scoped_release work;
    GramProduct().apply(map, d, scale, out, false, pool, rms);
    return result;
}

/// One term alone: (value, cotangent). `start`: what the cotangent holds before, to be added to.
std::pair<double, FloatArray> evaluate_layer_term(LayerTerm& term, const FloatArray& features,
                                                  double weight, ThreadPool& pool, int block,
                                                  const std::optional<FloatArray>& start) {
    const FeatureMap map = map_of(features, block);
    FloatArray result = like(features);
    require(!start || start->size() == features.size(), "start must have the features' shape");
    if (start) std::copy(start->data(), start->data() + start->size(), result.mutable_data());
    Cotangent cotangent{map, weight, start.has_value()};
    cotangent.map.data = result.mutable_data();
    double value = 0.0;
    {
        py::gil_scoped_release work;
        term.bind(map);
        value = term.evaluate(map, cotangent, pool);
    }
    return {value, std::move(result)};
}

std::pair<double, FloatArray> evaluate_image_term(ImageTerm& term, const FloatArray& image,
                                                  double weight, ThreadPool& pool) {
    require(image.ndim() == 3 && image.shape(0) == 3, "image must have shape (3, H, W)");
    FloatArray gradient = like(image);
    const int height = static_cast<int>(image.shape(1)), width = static_cast<int>(image.shape(2));
    const float* from = image.data();
    float* to = gradient.mutable_data();
    std::fill(to, to + gradient.size(), 0.0f);
    double value = 0.0;
    {
        py::gil_scoped_release work;
        value = term.evaluate(from, height, width, weight, to, pool);
    }
    return {value, std::move(gradient)};
}

/// Every function of common/vector.hpp on x and y, for tests. a, b: the factors of axpy and axpby.
py::dict vector_functions(const FloatArray& x, const FloatArray& y, float a, float b,
                          ThreadPool& pool) {
    require(x.size() == y.size(), "x and y must have one size");
    const auto n = static_cast<std::size_t>(x.size());
    auto changed = [&](auto change) {
        FloatArray result = like(y);
        std::copy(y.data(), y.data() + n, result.mutable_data());
        change(result.mutable_data());
        return result;
    };
    py::dict results;
    results["dot"] = dot(x.data(), y.data(), n, pool);
    results["sum"] = vector_kernels().sum(x.data(), n);
    results["norm1"] = norm1(x.data(), n, pool);
    results["difference2"] = difference2(x.data(), y.data(), n, pool);
    results["max_abs"] = max_abs(x.data(), n, pool);
    results["is_finite"] = is_finite(x.data(), n, pool);
    results["axpy"] = changed([&](float* to) { axpy(a, x.data(), to, n, pool); });
    results["axpby"] = changed([&](float* to) { axpby(a, x.data(), b, to, n, pool); });
    results["scale"] = changed([&](float* to) { vector_kernels().scale(a, to, n); });
    return results;
}

void require_image(const FloatArray& image, int height, int width) {
    require(image.ndim() == 3 && image.shape(0) == 3 && image.shape(1) == height &&
                image.shape(2) == width,
            "image must have shape (3, ", height, ", ", width, ")");
}

std::vector<double> gradient_norms(ImageObjective& objective, const FloatArray& image) {
    require_image(image, objective.height(), objective.width());
    const float* x = image.data();
    py::gil_scoped_release work;
    return objective.gradient_norms(x);
}

/// Planar copies of every tap's features for one image: what targets are made of.
std::vector<FloatArray> network_features(Network& network, const FloatArray& image) {
    require_image(image, network.height(), network.width());
    const float* x = image.data();
    {
        py::gil_scoped_release work;
        network.forward(x);
    }
    std::vector<FloatArray> features;
    for (std::size_t tap = 0; tap < network.taps().size(); ++tap) {
        const FeatureMap map = network.feature(tap);
        features.emplace_back(std::vector<py::ssize_t>{map.channels, map.height, map.width});
        to_planar(map, features.back().mutable_data());
    }
    return features;
}

}  // namespace

void register_objective(py::module_& module) {
    py::class_<LayerTerm, std::shared_ptr<LayerTerm>>(module, "LayerTerm")
        .def_property_readonly("is_tileable", &LayerTerm::is_tileable);
    py::class_<ContentTerm, LayerTerm, std::shared_ptr<ContentTerm>>(module, "ContentTerm")
        .def(py::init(&make_content), py::arg("target").noconvert(),
             py::arg("normalization") = "relative");
    py::class_<GramTerm, LayerTerm, std::shared_ptr<GramTerm>>(module, "GramTerm")
        .def(py::init(&make_gram), py::arg("target").noconvert(),
             py::arg("normalization") = "relative");
    py::class_<FunctionTerm, LayerTerm, std::shared_ptr<FunctionTerm>>(module, "FunctionTerm")
        .def(py::init<py::function>(), py::arg("function"));

    register_statistics(module);

    py::class_<ImageTerm, std::shared_ptr<ImageTerm>>(module, "ImageTerm");
    py::class_<FunctionImageTerm, ImageTerm, std::shared_ptr<FunctionImageTerm>>(
        module, "FunctionImageTerm")
        .def(py::init<py::function>(), py::arg("function"));
    py::class_<TotalVariation, ImageTerm, std::shared_ptr<TotalVariation>>(module, "TotalVariation")
        .def(py::init([](double beta, const std::string& average) {
                 return std::make_shared<TotalVariation>(beta, average_of(average));
             }),
             py::arg("beta") = 2.0, py::arg("average") = "mean");
    py::class_<AlphaNorm, ImageTerm, std::shared_ptr<AlphaNorm>>(module, "AlphaNorm")
        .def(py::init([](double alpha, const std::string& average) {
                 return std::make_shared<AlphaNorm>(alpha, average_of(average));
             }),
             py::arg("alpha") = 6.0, py::arg("average") = "mean");
    py::class_<RangePenalty, ImageTerm, std::shared_ptr<RangePenalty>>(module, "RangePenalty")
        .def(py::init<double, double>(), py::arg("low") = 0.0, py::arg("high") = 1.0);

    py::class_<Objective, std::shared_ptr<Objective>>(module, "Objective")
        .def_property_readonly("size", &Objective::size)
        .def_property_readonly("names", &Objective::names)
        .def_property_readonly("values", &Objective::values)
        .def("evaluate", &evaluate, py::arg("x").noconvert());

    py::class_<FunctionObjective, Objective, std::shared_ptr<FunctionObjective>>(
        module, "FunctionObjective")
        .def(py::init<py::function, std::size_t>(), py::arg("function"), py::arg("size"));

    py::class_<ImageObjective, Objective, std::shared_ptr<ImageObjective>>(module, "ImageObjective")
        .def(py::init<std::vector<std::shared_ptr<Network>>, int, int, std::shared_ptr<ThreadPool>,
                      int>(),
             py::arg("networks"), py::arg("height"), py::arg("width"), py::arg("pool"),
             py::arg("wrap") = 0)
        .def("add_layer_term", &ImageObjective::add_layer_term, py::arg("network"), py::arg("tap"),
             py::arg("term"), py::arg("weight"), py::arg("name"))
        .def("add_image_term", &ImageObjective::add_image_term, py::arg("term"), py::arg("weight"),
             py::arg("name"))
        .def("set_weight", &ImageObjective::set_weight, py::arg("name"), py::arg("weight"))
        .def("gradient_norms", &gradient_norms, py::arg("image").noconvert())
        .def_property_readonly("height", &ImageObjective::height)
        .def_property_readonly("width", &ImageObjective::width)
        .def_property_readonly("weights", &ImageObjective::weights);

    register_structure(module);
    register_tiles(module);

    module.def("gram", &gram, py::arg("features").noconvert(), py::arg("pool"),
               py::arg("block") = 1);
    module.def("network_features", &network_features, py::arg("network"),
               py::arg("image").noconvert());

    // Parts on their own, for tests and benchmarks.
    module.def("vector_functions", &vector_functions, py::arg("x").noconvert(),
               py::arg("y").noconvert(), py::arg("a"), py::arg("b"), py::arg("pool"));
    module.def("gram_gradient", &gram_gradient, py::arg("features").noconvert(),
               py::arg("matrix").noconvert(), py::arg("scale"), py::arg("pool"),
               py::arg("block") = 1, py::arg("rms") = 0.0);
    module.def("evaluate_layer_term", &evaluate_layer_term, py::arg("term"),
               py::arg("features").noconvert(), py::arg("weight"), py::arg("pool"),
               py::arg("block") = 1, py::arg("start") = py::none());
    module.def("evaluate_image_term", &evaluate_image_term, py::arg("term"),
               py::arg("image").noconvert(), py::arg("weight"), py::arg("pool"));
}

}  // namespace fastsynth
