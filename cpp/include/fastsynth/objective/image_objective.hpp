// ImageObjective: Σ weight · term over the features of one or several networks and over the pixels
// of one image.
//
// One evaluation runs each network forward once and backward once, and adds up. The terms are
// valued on the way back, when the gradient reaches their layer, so that they add to it in place.
// Parts are kept apart by name, so that a caller sees what the total is made of.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/parallel.hpp"
#include "fastsynth/network/network.hpp"
#include "fastsynth/objective/objective.hpp"
#include "fastsynth/objective/term.hpp"

namespace fastsynth {

class ImageObjective : public Objective {
  public:
    /// The networks must all be sized for height x width images, and for `wrap` pixels more on each
    /// side: they then see the image continued cyclically, as one tile of many. They may be none,
    /// for objectives of pixels alone.
    ImageObjective(std::vector<std::shared_ptr<Network>> networks, int height, int width,
                   std::shared_ptr<ThreadPool> pool, int wrap = 0);

    /// A term on the features of tap `tap` of network `network`. Names are unique.
    virtual void add_layer_term(std::size_t network, std::size_t tap,
                                std::shared_ptr<LayerTerm> term, double weight, std::string name);

    /// A term on the image itself.
    void add_image_term(std::shared_ptr<ImageTerm> term, double weight, std::string name);

    /// Changes a part's weight from the next evaluation on. A part of weight 0 is still valued, at
    /// no backward cost.
    void set_weight(const std::string& name, double weight);

    int height() const { return height_; }
    int width() const { return width_; }
    std::size_t size() const override {
        return 3 * static_cast<std::size_t>(height_) * static_cast<std::size_t>(width_);
    }

    /// x: planar RGB (3, H, W) in [0, 1]. Values that are not finite are passed on: the optimiser's
    /// loop decides.
    double evaluate(const float* x, float* gradient) override;

    const std::vector<std::string>& names() const override { return names_; }
    const std::vector<double>& values() const override { return values_; }
    const std::vector<double>& weights() const { return weights_; }

    /// ‖d term/d x‖₁ of each part alone, at weight 1, in the order of names(): one backward pass
    /// per layer part. For weights that give every layer the same share of the gradient. Leaves
    /// values() alone.
    std::vector<double> gradient_norms(const float* x);

  protected:
    struct Part {
        std::shared_ptr<LayerTerm> layer_term;  // either this, on (network, tap),
        std::shared_ptr<ImageTerm> image_term;  // or this
        std::size_t network, tap;
    };

    /// For objectives that run networks in their own way.
    ImageObjective(int height, int width, std::shared_ptr<ThreadPool> pool, int wrap);

    /// Values of all layer terms, with their weights, and the sum of their gradients.
    virtual void pull_layers(const float* x, float* gradient);
    /// ‖d term/d x‖₁ of each layer term, at weight 1.
    virtual void layer_norms(const float* x, std::vector<double>& norms);

    void add(Part part, double weight, std::string name);
    void clear(float* values, std::size_t count);

    int height_, width_, wrap_;
    std::shared_ptr<ThreadPool> pool_;
    std::vector<Part> parts_;
    std::vector<std::string> names_;
    std::vector<double> weights_, values_;

  private:
    bool pull(std::size_t n, std::size_t tap, const FeatureMap& map, bool add);

    // What the networks see: the image, or its cyclic continuation.
    std::size_t seen_size() const {
        return 3 * static_cast<std::size_t>(height_ + 2 * wrap_) *
               static_cast<std::size_t>(width_ + 2 * wrap_);
    }
    const float* seen(const float* x);
    void fold(float* gradient);  // the gradient of the continuation, summed onto the image's

    std::vector<std::shared_ptr<Network>> networks_;
    Buffer<float> scratch_;  // the image gradient of every network but the first
    Buffer<float> continued_, continued_gradient_;  // only where wrap is not 0
};

}  // namespace fastsynth
