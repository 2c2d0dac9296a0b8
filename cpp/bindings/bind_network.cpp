// Network, and CallbackNetwork: a network whose passes are Python calls (the ONNX Runtime backend).
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/network/network.hpp"

namespace fastsynth {
namespace {

/// Features and cotangents lie in NumPy arrays that Python bound to its sessions: no pass copies a
/// feature map. The GIL is taken for the two calls alone, and ONNX Runtime releases it again while
/// it computes.
class CallbackNetwork final : public Network {
  public:
    CallbackNetwork(std::vector<std::string> taps, FloatArray image,
                    std::vector<FloatArray> features, std::vector<FloatArray> cotangents,
                    FloatArray gradient, py::function forward, py::function backward)
        : taps_(std::move(taps)),
          image_(std::move(image)),
          features_(std::move(features)),
          cotangents_(std::move(cotangents)),
          gradient_(std::move(gradient)),
          forward_(std::move(forward)),
          backward_(std::move(backward)) {
        require(features_.size() == taps_.size() && cotangents_.size() == taps_.size(), "expected ",
                taps_.size(), " features and cotangents, one per tap, not ", features_.size(),
                " and ", cotangents_.size());
        require(image_.ndim() == 3 && image_.shape(0) == 3, "image must have shape (3, H, W)");
        require(gradient_.ndim() == 3 && gradient_.size() == image_.size(),
                "gradient must have the image's shape");
        image_data_ = image_.mutable_data();
        gradient_data_ = gradient_.data();
        for (std::size_t tap = 0; tap < taps_.size(); ++tap) {
            feature_maps_.push_back(map_of(features_[tap]));
            cotangent_maps_.push_back(map_of(cotangents_[tap]));
            require(feature_maps_[tap].size() == cotangent_maps_[tap].size(),
                    "cotangent and feature of ", taps_[tap], " differ in shape");
        }
    }

    ~CallbackNetwork() override {
        // Whatever thread drops the last reference, Python objects go with the GIL held.
        py::gil_scoped_acquire gil;
        forward_ = {};
        backward_ = {};
        image_ = {};
        gradient_ = {};
        features_.clear();
        cotangents_.clear();
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
        for (std::size_t tap = taps_.size(); tap-- > 0;) {
            const FeatureMap& map = cotangent_maps_[tap];
            if (!write(tap, map, false)) std::fill(map.data, map.data + map.size(), 0.0f);
        }
        {
            py::gil_scoped_acquire gil;
            backward_();
        }
        std::copy(gradient_data_, gradient_data_ + gradient_.size(), image_gradient);
    }

  private:
    static FeatureMap map_of(FloatArray& array) {
        require(array.ndim() == 3, "features must have shape (C, H, W)");
        return {array.mutable_data(), static_cast<int>(array.shape(0)),
                static_cast<int>(array.shape(1)), static_cast<int>(array.shape(2)), 1};
    }

    std::vector<std::string> taps_;
    FloatArray image_;
    std::vector<FloatArray> features_, cotangents_;
    FloatArray gradient_;
    py::function forward_, backward_;
    float* image_data_ = nullptr;
    const float* gradient_data_ = nullptr;
    std::vector<FeatureMap> feature_maps_, cotangent_maps_;
};

}  // namespace

void register_network(py::module_& module) {
    py::class_<Network, std::shared_ptr<Network>>(module, "Network")
        .def_property_readonly("height", &Network::height)
        .def_property_readonly("width", &Network::width)
        .def_property_readonly("taps", &Network::taps);

    py::class_<CallbackNetwork, Network, std::shared_ptr<CallbackNetwork>>(module,
                                                                           "CallbackNetwork")
        .def(py::init<std::vector<std::string>, FloatArray, std::vector<FloatArray>,
                      std::vector<FloatArray>, FloatArray, py::function, py::function>(),
             py::arg("taps"), py::arg("image").noconvert(), py::arg("features"),
             py::arg("cotangents"), py::arg("gradient").noconvert(), py::arg("forward"),
             py::arg("backward"));
}

}  // namespace fastsynth
