#include "fastsynth/objective/image_objective.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {

ImageObjective::ImageObjective(std::vector<std::shared_ptr<Network>> networks, int height,
                               int width, std::shared_ptr<ThreadPool> pool)
    : networks_(std::move(networks)), height_(height), width_(width), pool_(std::move(pool)) {
    require(height > 0 && width > 0, "the image must have at least one pixel, not ", height, " x ",
            width);
    require(pool_ != nullptr, "an objective needs a thread pool");
    for (const auto& network : networks_) {
        require(network != nullptr, "an objective's networks must not be None");
        require(network->height() == height && network->width() == width, "a network is sized for ",
                network->height(), " x ", network->width(), " images, the objective for ", height,
                " x ", width);
    }
}

void ImageObjective::add(Part part, double weight, std::string name) {
    require(std::isfinite(weight), "the weight of ", name, " must be finite, not ", weight);
    require(std::find(names_.begin(), names_.end(), name) == names_.end(), "two parts are called ",
            name);
    parts_.push_back(std::move(part));
    names_.push_back(std::move(name));
    weights_.push_back(weight);
    values_.push_back(0.0);
}

void ImageObjective::add_layer_term(std::size_t network, std::size_t tap,
                                    std::shared_ptr<LayerTerm> term, double weight,
                                    std::string name) {
    require(term != nullptr, "the term of ", name, " must not be None");
    require(network < networks_.size(), name, " asks for network ", network, "; there are ",
            networks_.size());
    require(tap < networks_[network]->taps().size(), name, " asks for tap ", tap,
            "; the network has ", networks_[network]->taps().size());
    term->bind(networks_[network]->feature(tap));
    add({std::move(term), nullptr, network, tap}, weight, std::move(name));
}

void ImageObjective::add_image_term(std::shared_ptr<ImageTerm> term, double weight,
                                    std::string name) {
    require(term != nullptr, "the term of ", name, " must not be None");
    add({nullptr, std::move(term), 0, 0}, weight, std::move(name));
}

void ImageObjective::set_weight(const std::string& name, double weight) {
    const auto at = std::find(names_.begin(), names_.end(), name);
    require(at != names_.end(), "no part is called ", name);
    require(std::isfinite(weight), "the weight of ", name, " must be finite, not ", weight);
    weights_[static_cast<std::size_t>(at - names_.begin())] = weight;
}

void ImageObjective::clear(float* values, std::size_t count) {
    pool_->for_ranges(static_cast<std::int64_t>(count), 1 << 16,
                      [&](std::int64_t begin, std::int64_t end) {
                          std::fill(values + begin, values + end, 0.0f);
                      });
}

/// Evaluates the parts of one tap that pull; see WriteCotangent.
bool ImageObjective::pull(std::size_t n, std::size_t tap, const FeatureMap& map, bool add) {
    bool written = false;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        Part& part = parts_[i];
        if (!part.layer_term || part.network != n || part.tap != tap || weights_[i] == 0.0)
            continue;
        const Cotangent cotangent{map, weights_[i], add || written};
        values_[i] =
            weights_[i] * part.layer_term->evaluate(networks_[n]->feature(tap), cotangent, *pool_);
        written = true;
    }
    return written;
}

double ImageObjective::evaluate(const float* x, float* gradient) {
    bool started = false;  // whether `gradient` holds something yet
    for (std::size_t n = 0; n < networks_.size(); ++n) {
        Network& network = *networks_[n];
        bool ran = false, pulls = false;
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            Part& part = parts_[i];
            if (!part.layer_term || part.network != n) continue;
            if (!ran) network.forward(x);
            ran = true;
            if (weights_[i] != 0.0) {
                pulls = true;  // valued when the gradient reaches its tap
                continue;
            }
            const FeatureMap feature = network.feature(part.tap);
            FeatureMap nowhere = feature;
            nowhere.data = nullptr;
            part.layer_term->evaluate(feature, {nowhere, 0.0, false}, *pool_);
            values_[i] = 0.0;
        }
        if (!pulls) continue;
        const auto write = [this, n](std::size_t tap, const FeatureMap& map, bool add) {
            return pull(n, tap, map, add);
        };
        if (!started) {
            network.backward(write, gradient);
        } else {
            if (scratch_.size() != size()) scratch_.resize(size());
            network.backward(write, scratch_.data());
            axpy(1.0f, scratch_.data(), gradient, size(), *pool_);
        }
        started = true;
    }
    if (!started) clear(gradient, size());

    for (std::size_t i = 0; i < parts_.size(); ++i)
        if (parts_[i].image_term)
            values_[i] = weights_[i] * parts_[i].image_term->evaluate(
                                           x, height_, width_, weights_[i], gradient, *pool_);

    double total = 0.0;
    for (double value : values_) total += value;
    return total;
}

std::vector<double> ImageObjective::gradient_norms(const float* x) {
    std::vector<double> norms(parts_.size(), 0.0);
    Buffer<float> gradient(size());
    for (std::size_t n = 0; n < networks_.size(); ++n) {
        Network& network = *networks_[n];
        bool has_features = false;
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            Part& part = parts_[i];
            if (!part.layer_term || part.network != n) continue;
            if (!has_features) network.forward(x);
            has_features = network.keeps_features();
            const auto write = [&](std::size_t tap, const FeatureMap& map, bool add) {
                if (tap != part.tap) return false;
                part.layer_term->evaluate(network.feature(tap), {map, 1.0, add}, *pool_);
                return true;
            };
            network.backward(write, gradient.data());
            norms[i] = norm1(gradient.data(), size(), *pool_);
        }
    }
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        if (!parts_[i].image_term) continue;
        clear(gradient.data(), size());
        parts_[i].image_term->evaluate(x, height_, width_, 1.0, gradient.data(), *pool_);
        norms[i] = norm1(gradient.data(), size(), *pool_);
    }
    return norms;
}

}  // namespace fastsynth
