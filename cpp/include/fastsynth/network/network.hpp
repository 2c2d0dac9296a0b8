// The one interface between objectives and networks: features forward, cotangents backward.
//
// A Network object is bound to one image size and one set of taps (the layers that some term looks
// at). Everything is sized once, when it is made; forward and backward allocate nothing. Two
// implementations exist: ONNX Runtime sessions (opened through Python, see
// bindings/bind_network.cpp) and, where present, the native CPU kernels.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace fastsynth {

/// The activations of one layer after its ReLU, or a cotangent of the same shape. Owns nothing.
///
/// Layout: [channels / block][height][width][block]. block = 1 is the plain planar (C, H, W).
/// Elementwise work needs no knowledge of it: `size()` values lie in one piece, and two maps of one
/// tap always share a layout.
struct FeatureMap {
    float* data = nullptr;
    int channels = 0;
    int height = 0;
    int width = 0;
    int block = 1;

    std::size_t positions() const { return static_cast<std::size_t>(height) * width; }
    std::size_t size() const { return positions() * channels; }
};

/// Copies a map of any layout to planar (C, H, W) memory of the same size.
void to_planar(const FeatureMap& map, float* planar);

/// Adds planar (C, H, W) values to a map of any layout.
void add_planar(const float* planar, const FeatureMap& map);

class Network {
  public:
    virtual ~Network() = default;

    virtual int height() const = 0;
    virtual int width() const = 0;

    /// Names of the tapped layers, shallow to deep. A tap's index is its place here.
    virtual const std::vector<std::string>& taps() const = 0;

    /// Runs the image, planar RGB (3, H, W) in [0, 1], up to the deepest tap and no deeper.
    virtual void forward(const float* image) = 0;

    /// Activations of a tap; valid until the next forward.
    virtual FeatureMap feature(std::size_t tap) = 0;

    /// Where the terms write dLoss/dFeature of a tap. The memory is the network's; backward reads
    /// it, and may use it up.
    virtual FeatureMap cotangent(std::size_t tap) = 0;

    /// Writes the gradient with respect to the image of the last forward, planar (3, H, W), from
    /// all cotangents. It may be called several times after one forward, with other cotangents.
    virtual void backward(float* image_gradient) = 0;
};

}  // namespace fastsynth
