// TiledObjective: an ImageObjective that shows its networks the image tile by tile, in the memory
// of one tile.
//
// Losses depend on an image by sums over a layer's positions (Gram matrices, means) and by terms of
// single positions (content). After Galerne, Raad, Lezama, Morel, "Scaling painting style
// transfer" (EGSR 2024), in two passes:
//   1. every tile forward; the terms add the positions that the tile owns to their sums. From the
//      sums follow the values, and what the gradients need of the whole layer.
//   2. every tile forward again and backward, with cotangents at the owned positions alone; the
//      tiles' image gradients are added where they lie.
// Owned features are those of the whole image (network/tiles.hpp), and the gradient is linear in
// the cotangents: the result is the untiled one, but for the order of sums. The second pass runs
// from the last tile to the first, and so finds the features of its first tile in place.
//
// Terms see the owned positions in bands of a few megabytes, copied together.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/scratch_file.hpp"
#include "fastsynth/network/tiles.hpp"
#include "fastsynth/objective/image_objective.hpp"
#include "fastsynth/objective/layer_terms.hpp"

namespace fastsynth {

/// A network bound to the grid's tile, and the pixels between positions of each of its taps.
struct TiledNetwork {
    std::shared_ptr<Network> network;
    TileGrid grid;
    std::vector<int> strides;
};

/// An image whose features are a target, with its share of it; `owner` keeps the pixels.
struct ContentSource {
    TileSource image;
    double share;
    std::shared_ptr<const void> owner;
};

class TiledObjective final : public ImageObjective {
  public:
    /// The grids must be those of images of height x width, and `wrap` pixels more on each side.
    TiledObjective(std::vector<TiledNetwork> networks, int height, int width,
                   std::shared_ptr<ThreadPool> pool, int wrap = 0);

    /// Throws std::invalid_argument for terms that cannot be tiled.
    void add_layer_term(std::size_t network, std::size_t tap, std::shared_ptr<LayerTerm> term,
                        double weight, std::string name) override;

    /// A content term with the target Σ share · features of the sources. It is kept in memory, or
    /// in a file of as many values as the layer has, or computed anew for every tile, by one more
    /// forward pass for each source. Runs the sources through the network once, for the target or
    /// for the scale of the loss. `file` may be null.
    void add_content(std::size_t network, std::size_t tap, std::vector<ContentSource> sources,
                     Normalization normalization, bool keep, std::shared_ptr<ScratchFile> file,
                     double weight, std::string name);

    /// The first pass alone: the terms gather their sums.
    void gather(const float* x);

  private:
    struct Target {  // of a content term; none: no term
        std::vector<ContentSource> sources;
        std::shared_ptr<ContentTerm> term;
        std::vector<Buffer<float>> kept;     // of every tile
        std::shared_ptr<ScratchFile> file;   // or here:
        std::vector<std::uint64_t> offsets;  // of every tile, and the end
        Buffer<float> values;                // of the tile at hand, where none is kept

        bool is_computed() const { return term && kept.empty() && !file; }
        std::size_t bytes(std::size_t tile) const {
            return static_cast<std::size_t>(offsets[tile + 1] - offsets[tile]);
        }
    };
    struct Tap {
        FeatureMap whole;  // shape of the layer, no data
        int stride;
    };

    void pull_layers(const float* x, float* gradient) override;
    void layer_norms(const float* x, std::vector<double>& norms) override;

    TileSource seen(const float* x) const;
    Tap tap(std::size_t network, std::size_t tap) const;
    bool is_active(std::size_t part, std::size_t network, const std::vector<double>& weights) const;
    void forward(std::size_t n, const TileSource& image, int tile);
    bool gather(std::size_t n, const TileSource& image, const std::vector<double>& weights);
    void settle(std::size_t n, const std::vector<double>& weights);
    void pull(std::size_t n, const TileSource& image, const std::vector<double>& weights,
              bool last_is_there, float* gradient);
    bool write(std::size_t n, int tile, const std::vector<double>& weights, std::size_t tap,
               const FeatureMap& map, bool add);
    void aim(std::size_t n, int tile, const std::vector<double>& weights);
    FeatureMap compute_target(std::size_t n, int tile, std::size_t tap,
                              const std::vector<ContentSource>& sources, Buffer<float>& values);
    void add_gradient(const Area& area, const float* tile_gradient, float* gradient);

    std::vector<TiledNetwork> networks_;
    std::vector<Target> targets_;  // one per part
    Buffer<float> tile_, tile_gradient_;
    Buffer<float> band_, slopes_;
};

}  // namespace fastsynth
