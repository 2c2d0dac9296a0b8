#include <cstdint>
#include <memory>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/compose/blend.hpp"
#include "fastsynth/compose/tone.hpp"

namespace fastsynth {
namespace {

template <class T>
using Samples = py::array_t<T, py::array::c_style>;

std::size_t pixels_of(const py::array& image, const char* name) {
    require(image.ndim() == 3 && image.shape(2) >= 1 && image.shape(2) <= 4, name,
            " must be (H, W, channels) samples");
    return static_cast<std::size_t>(image.shape(0)) * static_cast<std::size_t>(image.shape(1));
}

template <class T>
Samples<T> compose_as(const Samples<T>& source, const Samples<T>& backdrop, double alpha,
                      const std::string& mode, const std::string& rule, bool linear, int channels,
                      const py::object& mask, ThreadPool& pool) {
    const std::size_t pixels = pixels_of(source, "source");
    require(source.shape(0) == backdrop.shape(0) && source.shape(1) == backdrop.shape(1) &&
                pixels_of(backdrop, "backdrop") == pixels,
            "source and backdrop differ in size");
    const float* weights = nullptr;
    if (!mask.is_none()) {
        require(py::isinstance<FloatArray>(mask), "the mask must be contiguous float32");
        const auto array = py::reinterpret_borrow<FloatArray>(mask);
        require(static_cast<std::size_t>(array.size()) == pixels, "the mask has ", array.size(),
                " weights for ", pixels, " pixels");
        weights = array.data();  // `mask` keeps it alive
    }
    const Composition how{blend_mode(mode), porter_duff(rule), alpha, linear};
    require(channels == 1 || channels == 3 || channels == 4, "channels must be 1, 3 or 4, not ",
            channels);
    Samples<T> out({source.shape(0), source.shape(1), static_cast<py::ssize_t>(channels)});
    const Layer<T> top{source.data(), static_cast<int>(source.shape(2))};
    const Layer<T> bottom{backdrop.data(), static_cast<int>(backdrop.shape(2))};
    T* to = out.mutable_data();
    py::gil_scoped_release work;
    composite(how, top, bottom, weights, to, channels, pixels, pool);
    return out;
}

template <class T>
Samples<T> look_up_as(const Samples<T>& image, const Samples<T>& tables, ThreadPool& pool) {
    const std::size_t pixels = pixels_of(image, "image");
    const auto channels = static_cast<int>(image.shape(2));
    require(tables.ndim() == 2 && tables.shape(0) == channels &&
                tables.shape(1) == py::ssize_t(1) << (8 * sizeof(T)),
            "tables must have a row for each channel, and in it every value of a sample");
    Samples<T> out({image.shape(0), image.shape(1), image.shape(2)});
    const T *from = image.data(), *table = tables.data();
    T* to = out.mutable_data();
    py::gil_scoped_release work;
    look_up(from, channels, pixels, table, to, pool);
    return out;
}

Samples<float> tone_curve_of(const Samples<float>& image, const compose::ToneCurve& curve,
                             ThreadPool& pool) {
    const std::size_t pixels = pixels_of(image, "image");
    Samples<float> out({image.shape(0), image.shape(1), image.shape(2)});
    const float* from = image.data();
    const auto channels = static_cast<int>(image.shape(2));
    float* to = out.mutable_data();
    py::gil_scoped_release work;
    tone_curve(curve, from, channels, pixels, to, pool);
    return out;
}

template <class T>
Samples<T> color_matrix_as(const Samples<T>& image, const py::array_t<double>& matrix,
                           ThreadPool& pool) {
    const std::size_t pixels = pixels_of(image, "image");
    require(image.shape(2) >= 3, "image must have colour");
    require(matrix.ndim() == 2 && matrix.shape(0) == 3 && matrix.shape(1) == 4,
            "matrix must be (3, 4)");
    double rows[12];
    for (py::ssize_t i = 0; i < 12; ++i) rows[i] = matrix.at(i / 4, i % 4);
    Samples<T> out({image.shape(0), image.shape(1), image.shape(2)});
    const T* from = image.data();
    const auto channels = static_cast<int>(image.shape(2));
    T* to = out.mutable_data();
    py::gil_scoped_release work;
    color_matrix(rows, from, channels, pixels, to, pool);
    return out;
}

/// work(array as Samples<T>) for the T that the samples have.
template <class Work>
py::array by_type(const py::array& image, Work work) {
    if (py::isinstance<Samples<std::uint8_t>>(image))
        return work(py::reinterpret_borrow<Samples<std::uint8_t>>(image));
    if (py::isinstance<Samples<std::uint16_t>>(image))
        return work(py::reinterpret_borrow<Samples<std::uint16_t>>(image));
    require(py::isinstance<FloatArray>(image),
            "samples must be contiguous uint8, uint16 or float32");
    return work(py::reinterpret_borrow<FloatArray>(image));
}

/// The other array, of the same type as the first.
template <class Array>
Array alike(const py::array& other, const Array&, const char* name) {
    require(py::isinstance<Array>(other), name, " must be contiguous, and of the image's type");
    return py::reinterpret_borrow<Array>(other);
}

}  // namespace

void register_compose_blend(py::module_& module) {
    module.def(
        "compose",
        [](const py::array& source, const py::array& backdrop, double alpha,
           const std::string& mode, const std::string& rule, bool linear, int channels,
           const py::object& mask, ThreadPool& pool) {
            return by_type(source, [&](const auto& top) {
                return compose_as(top, alike(backdrop, top, "backdrop"), alpha, mode, rule, linear,
                                  channels, mask, pool);
            });
        },
        py::arg("source"), py::arg("backdrop"), py::arg("alpha"), py::arg("mode"), py::arg("rule"),
        py::arg("linear"), py::arg("channels"), py::arg("mask"), py::arg("pool"));
    module.def(
        "look_up",
        [](const py::array& image, const py::array& tables, ThreadPool& pool) {
            if (py::isinstance<Samples<std::uint8_t>>(image)) {
                const auto bytes = py::reinterpret_borrow<Samples<std::uint8_t>>(image);
                return py::array(look_up_as(bytes, alike(tables, bytes, "tables"), pool));
            }
            require(py::isinstance<Samples<std::uint16_t>>(image),
                    "samples must be contiguous uint8 or uint16");
            const auto words = py::reinterpret_borrow<Samples<std::uint16_t>>(image);
            return py::array(look_up_as(words, alike(tables, words, "tables"), pool));
        },
        py::arg("image"), py::arg("tables"), py::arg("pool"));
    module.def(
        "tone_curve",
        [](const py::array& image, double center, double slope, double middle, double exponent,
           double low, double high, ThreadPool& pool) {
            require(py::isinstance<FloatArray>(image), "samples must be contiguous float32");
            const auto samples = py::reinterpret_borrow<FloatArray>(image);
            return tone_curve_of(samples, {center, slope, middle, exponent, low, high}, pool);
        },
        py::arg("image"), py::arg("center"), py::arg("slope"), py::arg("middle"),
        py::arg("exponent"), py::arg("low"), py::arg("high"), py::arg("pool"));
    module.def(
        "color_matrix",
        [](const py::array& image, const py::array_t<double>& matrix, ThreadPool& pool) {
            return by_type(
                image, [&](const auto& samples) { return color_matrix_as(samples, matrix, pool); });
        },
        py::arg("image"), py::arg("matrix"), py::arg("pool"));
    module.def("blend_modes", &blend_mode_names);
    module.def("porter_duff_operators", &porter_duff_names);
}

}  // namespace fastsynth
