// The one interface between objectives and networks: features forward, cotangents backward.
//
// A Network object is bound to one image size and one set of taps (the layers that some term looks
// at). Everything is sized once, when it is made; forward and backward allocate nothing. Two
// implementations exist: ONNX Runtime sessions (opened through Python, see
// bindings/bind_network.cpp) and, where present, the native CPU kernels.
#pragma once

#include <cstddef>
#include <functional>
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

/// Writes dLoss/dFeature of a tap into `map`, which has the feature's shape and layout. `add`: the
/// map holds the gradient of deeper layers, to which it is added; otherwise the map holds nothing
/// of use and all of it is replaced. Returns false, and leaves the map alone, if it is zero.
using WriteCotangent = std::function<bool(std::size_t tap, const FeatureMap& map, bool add)>;

class Network {
  public:
    virtual ~Network() = default;

    virtual int height() const = 0;
    virtual int width() const = 0;

    /// Names of the tapped layers, shallow to deep. A tap's index is its place here.
    virtual const std::vector<std::string>& taps() const = 0;

    /// Runs the image, planar RGB (3, H, W) in [0, 1], up to the deepest tap and no deeper.
    virtual void forward(const float* image) = 0;

    /// Activations of a tap; valid after forward until the next forward, or until `backward` has
    /// asked for this tap's cotangent. Shape and layout are always valid.
    virtual FeatureMap feature(std::size_t tap) = 0;

    /// Writes the gradient with respect to the image of the last forward, planar (3, H, W). Calls
    /// `write` once for each tap, from deep to shallow, when the gradient has come that far: so
    /// cotangents need no memory of their own. In the call the tap's feature is still valid.
    virtual void backward(const WriteCotangent& write, float* image_gradient) = 0;

    /// Whether the features outlive `backward`, so that it may be called again without a forward.
    virtual bool keeps_features() const { return true; }
};

}  // namespace fastsynth
