#include "fastsynth/objective/image_objective.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {

ImageObjective::ImageObjective(int height, int width, std::shared_ptr<ThreadPool> pool, int wrap)
    : height_(height), width_(width), wrap_(wrap), pool_(std::move(pool)) {
    require(height > 0 && width > 0, "the image must have at least one pixel, not ", height, " x ",
            width);
    require(wrap >= 0, "wrap must be 0 or more pixels, not ", wrap);
    require(pool_ != nullptr, "an objective needs a thread pool");
}

ImageObjective::ImageObjective(std::vector<std::shared_ptr<Network>> networks, int height,
                               int width, std::shared_ptr<ThreadPool> pool, int wrap)
    : ImageObjective(height, width, std::move(pool), wrap) {
    networks_ = std::move(networks);
    for (const auto& network : networks_) {
        require(network != nullptr, "an objective's networks must not be None");
        const int rows = height + 2 * wrap, columns = width + 2 * wrap;
        require(network->height() == rows && network->width() == columns, "a network is sized for ",
                network->height(), " x ", network->width(), " images, the objective for ", rows,
                " x ", columns);
    }
    if (wrap > 0 && !networks_.empty()) {
        continued_.resize(seen_size());
        continued_gradient_.resize(seen_size());
    }
}

/// Row or column of the image that place i of its cyclic continuation shows.
static int cyclic(int i, int wrap, int size) {
    const int place = (i - wrap) % size;
    return place < 0 ? place + size : place;
}

const float* ImageObjective::seen(const float* x) {
    if (wrap_ == 0 || networks_.empty()) return x;
    const int rows = height_ + 2 * wrap_, columns = width_ + 2 * wrap_;
    pool_->for_ranges(3LL * rows, 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t line = begin; line < end; ++line) {
            const auto y = cyclic(static_cast<int>(line % rows), wrap_, height_);
            const float* from = x + static_cast<std::size_t>(line / rows * height_ + y) * width_;
            float* to = continued_.data() + static_cast<std::size_t>(line) * columns;
            for (int i = 0; i < columns; ++i) to[i] = from[cyclic(i, wrap_, width_)];
        }
    });
    return continued_.data();
}

void ImageObjective::fold(float* gradient) {
    const int rows = height_ + 2 * wrap_, columns = width_ + 2 * wrap_;
    pool_->for_ranges(3LL * height_, 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t line = begin; line < end; ++line) {
            float* to = gradient + static_cast<std::size_t>(line) * width_;
            std::fill(to, to + width_, 0.0f);
            const std::int64_t channel = line / height_;
            // Every row of the continuation that shows this row of the image.
            for (int y = static_cast<int>((line % height_ + wrap_) % height_); y < rows;
                 y += height_) {
                const float* from = continued_gradient_.data() +
                                    static_cast<std::size_t>(channel * rows + y) * columns;
                for (int i = 0; i < columns; ++i) to[cyclic(i, wrap_, width_)] += from[i];
            }
        }
    });
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

void ImageObjective::pull_layers(const float* x, float* gradient) {
    const float* image = seen(x);
    float* pulled = image == x ? gradient : continued_gradient_.data();
    bool started = false;  // whether `pulled` holds something yet
    for (std::size_t n = 0; n < networks_.size(); ++n) {
        Network& network = *networks_[n];
        bool ran = false, pulls = false;
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            Part& part = parts_[i];
            if (!part.layer_term || part.network != n) continue;
            if (!ran) network.forward(image);
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
            network.backward(write, pulled);
        } else {
            if (scratch_.size() != seen_size()) scratch_.resize(seen_size());
            network.backward(write, scratch_.data());
            axpy(1.0f, scratch_.data(), pulled, seen_size(), *pool_);
        }
        started = true;
    }
    if (!started)
        clear(gradient, size());
    else if (pulled != gradient)
        fold(gradient);
}

double ImageObjective::evaluate(const float* x, float* gradient) {
    pull_layers(x, gradient);
    for (std::size_t i = 0; i < parts_.size(); ++i)
        if (parts_[i].image_term)
            values_[i] = weights_[i] * parts_[i].image_term->evaluate(
                                           x, height_, width_, weights_[i], gradient, *pool_);

    double total = 0.0;
    for (double value : values_) total += value;
    return total;
}

void ImageObjective::layer_norms(const float* x, std::vector<double>& norms) {
    Buffer<float> gradient(size());
    const float* image = seen(x);
    float* pulled = image == x ? gradient.data() : continued_gradient_.data();
    for (std::size_t n = 0; n < networks_.size(); ++n) {
        Network& network = *networks_[n];
        bool has_features = false;
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            Part& part = parts_[i];
            if (!part.layer_term || part.network != n) continue;
            if (!has_features) network.forward(image);
            has_features = network.keeps_features();
            const auto write = [&](std::size_t tap, const FeatureMap& map, bool add) {
                if (tap != part.tap) return false;
                part.layer_term->evaluate(network.feature(tap), {map, 1.0, add}, *pool_);
                return true;
            };
            network.backward(write, pulled);
            if (pulled != gradient.data()) fold(gradient.data());
            norms[i] = norm1(gradient.data(), size(), *pool_);
        }
    }
}

std::vector<double> ImageObjective::gradient_norms(const float* x) {
    std::vector<double> norms(parts_.size(), 0.0);
    layer_norms(x, norms);
    Buffer<float> gradient;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        if (!parts_[i].image_term) continue;
        gradient.resize(size());  // clears it
        parts_[i].image_term->evaluate(x, height_, width_, 1.0, gradient.data(), *pool_);
        norms[i] = norm1(gradient.data(), size(), *pool_);
    }
    return norms;
}

}  // namespace fastsynth
