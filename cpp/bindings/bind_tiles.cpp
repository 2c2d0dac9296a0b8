// Grids of tiles, and the objective that works on them.
#include <exception>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/objective/tiled_objective.hpp"

namespace fastsynth {

Normalization normalization_of(const std::string& name);  // bind_objective.cpp

namespace {

using NetworkOnGrid = std::tuple<std::shared_ptr<Network>, TileGrid, std::vector<int>>;

std::shared_ptr<TiledObjective> make_tiled(const std::vector<NetworkOnGrid>& networks, int height,
                                           int width, std::shared_ptr<ThreadPool> pool, int wrap) {
    std::vector<TiledNetwork> tiled;
    for (const auto& [network, grid, strides] : networks) tiled.push_back({network, grid, strides});
    return std::make_shared<TiledObjective>(std::move(tiled), height, width, std::move(pool), wrap);
}

/// Keeps an array until the last reference goes, whatever thread drops it.
std::shared_ptr<const void> hold(const FloatArray& array) {
    return {new FloatArray(array), [](const void* kept) {
                py::gil_scoped_acquire gil;
                delete static_cast<const FloatArray*>(kept);
            }};
}

void add_content(TiledObjective& objective, std::size_t network, std::size_t tap,
                 const std::vector<std::tuple<FloatArray, int, double>>& images,
                 const std::string& normalization, bool keep, double weight, std::string name,
                 std::shared_ptr<ScratchFile> file) {
    std::vector<ContentSource> sources;
    for (const auto& [pixels, border, share] : images) {
        require(pixels.ndim() == 3 && pixels.shape(0) == 3 && border >= 0,
                "an image must have shape (3, H, W), and a border of 0 or more pixels");
        const TileSource image{pixels.data(), static_cast<int>(pixels.shape(1)),
                               static_cast<int>(pixels.shape(2)), border,
                               TileSource::Border::reflected};
        sources.push_back({image, share, hold(pixels)});
    }
    const Normalization chosen = normalization_of(normalization);
    py::gil_scoped_release work;
    objective.add_content(network, tap, std::move(sources), chosen, keep, std::move(file), weight,
                          std::move(name));
}

/// A scratch file that fails is no memory where it is needed.
void translate_scratch(std::exception_ptr thrown) {
    try {
        if (thrown) std::rethrow_exception(thrown);
    } catch (const ScratchError& error) {
        const std::string text =
            std::string(error.what()) +
            "; FASTSYNTH_SCRATCH names another folder for such files, or \"off\" for none";
        py::set_error(py::module_::import("fastsynth._errors").attr("MemoryLimitError"),
                      text.c_str());
    }
}

void gather(TiledObjective& objective, const FloatArray& image) {
    require(static_cast<std::size_t>(image.size()) == objective.size(), "the image has ",
            image.size(), " values, expected ", objective.size());
    const float* x = image.data();
    py::gil_scoped_release work;
    objective.gather(x);
}

}  // namespace

void register_tiles(py::module_& module) {
    py::class_<TileGrid>(module, "TileGrid")
        .def(py::init<int, int, int, int, int>(), py::arg("height"), py::arg("width"),
             py::arg("stride"), py::arg("halo"), py::arg("inner"))
        .def_property_readonly("count", &TileGrid::count)
        .def_property_readonly("tile_height", &TileGrid::height)
        .def_property_readonly("tile_width", &TileGrid::width)
        .def(
            "tile",
            [](const TileGrid& grid, int index) {
                const Area area = grid.tile(index);
                return std::make_tuple(area.top, area.left, area.height, area.width);
            },
            py::arg("index"))
        .def(
            "owned",
            [](const TileGrid& grid, int index, int stride) {
                const Area area = grid.owned(index, stride);
                return std::make_tuple(area.top, area.left, area.height, area.width);
            },
            py::arg("index"), py::arg("stride"));
    py::register_local_exception_translator(&translate_scratch);
    py::class_<ScratchFile, std::shared_ptr<ScratchFile>>(module, "ScratchFile")
        .def(py::init<int>(), py::arg("descriptor"));
    py::class_<TiledObjective, ImageObjective, std::shared_ptr<TiledObjective>>(module,
                                                                                "TiledObjective")
        .def(py::init(&make_tiled), py::arg("networks"), py::arg("height"), py::arg("width"),
             py::arg("pool"), py::arg("wrap") = 0)
        .def("add_content", &add_content, py::arg("network"), py::arg("tap"), py::arg("images"),
             py::arg("normalization"), py::arg("keep"), py::arg("weight"), py::arg("name"),
             py::arg("file") = std::shared_ptr<ScratchFile>())
        .def("gather", &gather, py::arg("image").noconvert());
}

}  // namespace fastsynth
