// Terms: the summands of an image objective. A layer term looks at the features of one tapped
// layer, an image term at the pixels. Each holds its target, computed once, and yields its value
// and its gradient in one call.
//
// To add a term, derive from one of these, and bind it in bindings/bind_objective.cpp. A layer term
// that does not care about the layout of a FeatureMap uses to_planar / add_planar (network.hpp).
//
// A term keeps scratch memory between calls: it may be part of several objectives, but one thread
// at a time may use it.
#pragma once

#include <cstddef>

#include "fastsynth/common/parallel.hpp"
#include "fastsynth/network/network.hpp"

namespace fastsynth {

/// Where a layer term puts weight · dValue/dFeature.
struct Cotangent {
    FeatureMap map;  // shape and layout of the features
    double weight;   // 0: only the value is wanted, the map is left alone
    bool add;  // true: add to what the map holds; false: the map holds nothing of use, replace it
               // all
};

/// Where a part of a layer lies: the rows and columns of the whole layer, and its first position.
struct Place {
    int rows, columns;
    int top, left;
};

class LayerTerm {
  public:
    virtual ~LayerTerm() = default;

    /// Throws std::invalid_argument unless the term's target fits features of this shape. Called
    /// when the term joins an objective; a term may bring its target into the features' layout
    /// here. The features' values are not yet valid.
    virtual void bind(const FeatureMap& feature) = 0;

    /// Returns the value (without weight) and writes the gradient.
    virtual double evaluate(const FeatureMap& feature, const Cotangent& cotangent,
                            ThreadPool& pool) = 0;

    // A term can be tiled if it knows the whole layer by sums over positions. It is then shown the
    // layer part by part, each position in exactly one part: `start`; `gather` of every part, where
    // it needs sums; `settle`; `pull` of every part. The value is what `settle` and all calls of
    // `pull` return, added. A part's map holds its positions alone.

    /// Whether the term can be tiled. Where not, the functions below throw std::logic_error.
    virtual bool is_tileable() const { return false; }

    /// Whether `pull` needs sums over the whole layer before it.
    virtual bool needs_sums() const { return true; }

    /// Forgets all parts.
    virtual void start();

    /// Adds a part to the sums.
    virtual void gather(const FeatureMap& part, const Place& place, ThreadPool& pool);

    /// Returns the value as far as the sums tell it.
    virtual double settle();

    /// Writes the gradient of a part, and returns the part's own summand of the value.
    virtual double pull(const FeatureMap& part, const Place& place, const Cotangent& cotangent,
                        ThreadPool& pool);
};

class ImageTerm {
  public:
    virtual ~ImageTerm() = default;

    /// Returns the value (without weight) for a planar RGB image (3, height, width) and adds weight
    /// · dValue/dImage to `gradient`. Weight 0 leaves the gradient alone.
    virtual double evaluate(const float* image, int height, int width, double weight,
                            float* gradient, ThreadPool& pool) = 0;
};

}  // namespace fastsynth
