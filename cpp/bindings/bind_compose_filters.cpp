// Filters and geometry of the compose stage.
#include <string>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/compose/affine.hpp"
#include "fastsynth/compose/convolve.hpp"
#include "fastsynth/compose/pool.hpp"
#include "fastsynth/compose/samples.hpp"

namespace fastsynth {
namespace {

using namespace compose;

template <class Value>
using Choice = std::pair<const char*, Value>;

template <class Value>
Value chosen(const std::string& name, const char* what,
             std::initializer_list<Choice<Value>> choices) {
    std::string names;
    for (const auto& [known, value] : choices) {
        if (name == known) return value;
        names += std::string(names.empty() ? "" : ", ") + known;
    }
    require(false, what, " is '", name, "'; expected one of ", names);
    return choices.begin()->second;
}

Sample sample_of(const py::array& array) {
    if (py::isinstance<py::array_t<std::uint8_t>>(array)) return Sample::u8;
    if (py::isinstance<py::array_t<std::uint16_t>>(array)) return Sample::u16;
    require(py::isinstance<py::array_t<float>>(array),
            "samples must be uint8, uint16 or float32 in native byte order");
    return Sample::f32;
}

void check_pixels(const py::array& array) {
    require(array.ndim() == 3 && (array.flags() & py::array::c_style) && array.size() > 0,
            "an image must be C-contiguous (H, W, C), not empty");
    const auto channels = array.shape(2);
    require(channels == 1 || channels == 3 || channels == 4,
            "an image has 1, 3 or 4 channels, not ", channels);
}

Raster raster(const py::array& array) {
    check_pixels(array);
    return {array.data(), sample_of(array), array.shape(0), array.shape(1),
            static_cast<int>(array.shape(2))};
}

MutableRaster mutable_raster(py::array& array) {
    check_pixels(array);
    return {array.mutable_data(), sample_of(array), array.shape(0), array.shape(1),
            static_cast<int>(array.shape(2))};
}

Reading reading(const std::string& border, const std::vector<float>& constant, bool linear,
                const std::string& alpha) {
    Reading result;
    result.border = chosen<Border>(border, "border",
                                   {{"constant", Border::constant},
                                    {"replicate", Border::replicate},
                                    {"reflect", Border::reflect},
                                    {"mirror", Border::mirror},
                                    {"wrap", Border::wrap}});
    require(constant.size() <= max_channels, "constant has ", constant.size(), " values");
    std::copy(constant.begin(), constant.end(), result.constant.begin());
    result.linear = linear;
    result.alpha = chosen<Alpha>(
        alpha, "alpha",
        {{"premultiply", Alpha::premultiply}, {"keep", Alpha::keep}, {"channel", Alpha::channel}});
    return result;
}

std::vector<float> flat(const FloatArray& array) {
    return {array.data(), array.data() + array.size()};
}

void bind_convolve(const py::array& in, py::array& out, const FloatArray& taps,
                   const std::vector<std::pair<FloatArray, FloatArray>>& terms,
                   std::pair<int, int> anchor, float gain, float alpha_gain, float offset,
                   bool clip, const std::string& border, const std::vector<float>& constant,
                   bool linear, const std::string& alpha, ThreadPool& pool) {
    require(taps.ndim() == 2, "a kernel has 2 axes, not ", taps.ndim());
    Filter filter;
    filter.height = static_cast<int>(taps.shape(0));
    filter.width = static_cast<int>(taps.shape(1));
    filter.anchor_y = anchor.first;
    filter.anchor_x = anchor.second;
    filter.taps = flat(taps);
    for (const auto& [column, row] : terms) filter.terms.push_back({flat(column), flat(row)});
    filter.gain = gain;
    filter.alpha_gain = alpha_gain;
    filter.offset = offset;
    filter.clip = clip;
    const Raster source = raster(in);
    const MutableRaster target = mutable_raster(out);
    const Reading how = reading(border, constant, linear, alpha);
    py::gil_scoped_release release;
    convolve(source, target, filter, how, pool);
}

void bind_affine(const py::array& in, py::array& out, const std::array<double, 6>& map,
                 const std::string& interpolation, bool antialias, bool clip,
                 const std::string& border, const std::vector<float>& constant, bool linear,
                 const std::string& alpha, ThreadPool& pool) {
    AffineSettings settings;
    settings.map = map;
    settings.interpolation = chosen<Interpolation>(interpolation, "interpolation",
                                                   {{"nearest", Interpolation::nearest},
                                                    {"bilinear", Interpolation::bilinear},
                                                    {"bicubic", Interpolation::bicubic},
                                                    {"lanczos", Interpolation::lanczos}});
    settings.antialias = antialias;
    settings.clip = clip;
    const Raster source = raster(in);
    const MutableRaster target = mutable_raster(out);
    const Reading how = reading(border, constant, linear, alpha);
    py::gil_scoped_release release;
    affine(source, target, settings, how, pool);
}

}  // namespace

void register_compose_filters(py::module_& module) {
    module.def("shared_pool", shared_pool, py::arg("threads") = 0);
    module.def("convolve", bind_convolve, py::arg("image").noconvert(), py::arg("out").noconvert(),
               py::arg("taps").noconvert(), py::arg("terms"), py::arg("anchor"), py::arg("gain"),
               py::arg("alpha_gain"), py::arg("offset"), py::arg("clip"), py::arg("border"),
               py::arg("constant"), py::arg("linear"), py::arg("alpha"), py::arg("pool"));
    module.def("affine", bind_affine, py::arg("image").noconvert(), py::arg("out").noconvert(),
               py::arg("matrix"), py::arg("interpolation"), py::arg("antialias"), py::arg("clip"),
               py::arg("border"), py::arg("constant"), py::arg("linear"), py::arg("alpha"),
               py::arg("pool"));
    module.def(
        "value_range",
        [](const FloatArray& values, ThreadPool& pool) {
            float low, high;
            {
                py::gil_scoped_release release;
                value_range(values.data(), static_cast<std::size_t>(values.size()), pool, &low,
                            &high);
            }
            return std::make_pair(low, high);
        },
        py::arg("values").noconvert(), py::arg("pool"));
}

}  // namespace fastsynth
