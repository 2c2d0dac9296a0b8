// Network, and CallbackNetwork: a network whose passes are Python calls (the ONNX Runtime backend).
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/network/network.hpp"
#include "fastsynth/network/planar.hpp"

namespace fastsynth {
namespace {

/// Features lie in NumPy arrays that Python bound to its sessions, and cotangents are added to
/// arrays that it hands in: no pass copies a feature map. The GIL is taken for the two calls alone;
/// ONNX Runtime releases it again while it computes, and so does `pull`.
class CallbackNetwork final : public Network {
  public:
    CallbackNetwork(std::vector<std::string> taps, FloatArray image,
                    std::vector<FloatArray> features, FloatArray gradient, py::function forward,
                    py::function backward)
        : taps_(std::move(taps)),
          image_(std::move(image)),
          features_(std::move(features)),
          gradient_(std::move(gradient)),
          forward_(std::move(forward)),
          backward_(std::move(backward)) {
        require(features_.size() == taps_.size(), "expected ", taps_.size(),
                " features, one per tap, not ", features_.size());
        require(image_.ndim() == 3 && image_.shape(0) == 3, "image must have shape (3, H, W)");
        require(gradient_.ndim() == 3 && gradient_.size() == image_.size(),
                "gradient must have the image's shape");
        image_data_ = image_.mutable_data();
        gradient_data_ = gradient_.data();
        for (FloatArray& feature : features_) feature_maps_.push_back(map_of(feature));
    }

    ~CallbackNetwork() override {
        // Whatever thread drops the last reference, Python objects go with the GIL held.
        py::gil_scoped_acquire gil;
        forward_ = {};
        backward_ = {};
        image_ = {};
        gradient_ = {};
        features_.clear();
    }

    int height() const override { return static_cast<int>(image_.shape(1)); }
    int width() const override { return static_cast<int>(image_.shape(2)); }
    const std::vector<std::string>& taps() const override { return taps_; }
    FeatureMap feature(std::size_t tap) override { return feature_maps_.at(tap); }

    void forward(const float* image) override {
        std::copy(image, image + image_.size(), image_data_);
        py::gil_scoped_acquire gil;
        forward_();
    }

    void backward(const WriteCotangent& write, float* image_gradient) override {
        {
            py::gil_scoped_acquire gil;
            const Pull pull{&write, this};
            backward_(py::cpp_function(
                [&pull](std::size_t tap, FloatArray map, bool add) { return pull(tap, map, add); },
                py::arg("tap"), py::arg("map").noconvert(), py::arg("add")));
        }
        std::copy(gradient_data_, gradient_data_ + gradient_.size(), image_gradient);
    }

  private:
    /// pull(tap, map, add) -> bool, as WriteCotangent, for an array (C, H, W).
    struct Pull {
        const WriteCotangent* write;
        CallbackNetwork* network;

        bool operator()(std::size_t tap, FloatArray& array, bool add) const {
            const FeatureMap map = map_of(array);
            require(tap < network->taps_.size(), "there is no tap ", tap);
            require(map.size() == network->feature_maps_[tap].size(), "cotangent and feature of ",
                    network->taps_[tap], " differ in shape");
            py::gil_scoped_release release;
            return (*write)(tap, map, add);
        }
    };

    static FeatureMap map_of(FloatArray& array) {
        require(array.ndim() == 3, "features must have shape (C, H, W)");
        return {array.mutable_data(), static_cast<int>(array.shape(0)),
                static_cast<int>(array.shape(1)), static_cast<int>(array.shape(2)), 1};
    }

    std::vector<std::string> taps_;
    FloatArray image_;
    std::vector<FloatArray> features_;
    FloatArray gradient_;
    py::function forward_, backward_;
    float* image_data_ = nullptr;
    const float* gradient_data_ = nullptr;
    std::vector<FeatureMap> feature_maps_;
};

using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;

FeatureMap planar_map(FloatArray& array) {
    require(array.ndim() == 3, "a map has shape (C, H, W), not ", array.ndim(), " dimensions");
    return {array.mutable_data(), static_cast<int>(array.shape(0)),
            static_cast<int>(array.shape(1)), static_cast<int>(array.shape(2)), 1};
}

/// Throws unless pooled map and routes fit the map.
void check_pooled(const FeatureMap& map, const FloatArray& pooled, const ByteArray& routes) {
    const auto count =
        py::ssize_t{map.channels} * py::ssize_t{map.height / 2} * py::ssize_t{map.width / 2};
    require(pooled.size() == count && routes.size() == count, "a map of ", map.channels, " x ",
            map.height, " x ", map.width, " has ", count, " pooling windows; pooled holds ",
            pooled.size(), " values, routes ", routes.size());
}

void pool_arrays(FloatArray map, FloatArray pooled, ByteArray routes, bool average,
                 ThreadPool& pool) {
    const FeatureMap from = planar_map(map);
    check_pooled(from, pooled, routes);
    float* values = pooled.mutable_data();
    std::uint8_t* ways = routes.mutable_data();
    py::gil_scoped_release release;
    pool_planar(from, average, values, ways, pool);
}

void unpool_arrays(FloatArray pooled, ByteArray routes, FloatArray gradient, bool average, bool add,
                   ThreadPool& pool) {
    const FeatureMap to = planar_map(gradient);
    check_pooled(to, pooled, routes);
    const float* values = pooled.data();
    const std::uint8_t* ways = routes.data();
    py::gil_scoped_release release;
    unpool_planar(values, ways, average, to, add, pool);
}

void mask_arrays(FloatArray feature, FloatArray gradient, ThreadPool& pool) {
    const FeatureMap from = planar_map(feature), to = planar_map(gradient);
    py::gil_scoped_release release;
    mask_planar(from, to, pool);
}

}  // namespace

void register_network(py::module_& module) {
    py::class_<Network, std::shared_ptr<Network>>(module, "Network")
        .def_property_readonly("height", &Network::height)
        .def_property_readonly("width", &Network::width)
        .def_property_readonly("taps", &Network::taps);

    py::class_<CallbackNetwork, Network, std::shared_ptr<CallbackNetwork>>(module,
                                                                           "CallbackNetwork")
        .def(py::init<std::vector<std::string>, FloatArray, std::vector<FloatArray>, FloatArray,
                      py::function, py::function>(),
             py::arg("taps"), py::arg("image").noconvert(), py::arg("features"),
             py::arg("gradient").noconvert(), py::arg("forward"), py::arg("backward"));

    module.def("pool_planar", &pool_arrays, py::arg("features").noconvert(),
               py::arg("pooled").noconvert(), py::arg("routes").noconvert(), py::arg("average"),
               py::arg("pool"));
    module.def("unpool_planar", &unpool_arrays, py::arg("pooled").noconvert(),
               py::arg("routes").noconvert(), py::arg("gradient").noconvert(), py::arg("average"),
               py::arg("add"), py::arg("pool"));
    module.def("mask_planar", &mask_arrays, py::arg("feature").noconvert(),
               py::arg("gradient").noconvert(), py::arg("pool"));
}

}  // namespace fastsynth
