#include "fastsynth/objective/tiled_objective.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {
namespace {

/// Values of a band: 8 MiB stay in an L3 cache, and hold enough positions for a Gram matrix of 512
/// channels to be worth its sums.
constexpr std::size_t band_values = std::size_t{1} << 21;

void reserve(Buffer<float>& buffer, std::size_t count) {
    if (buffer.size() < count) buffer.resize(count);
}

/// Runs body(rows of the map's line, of the area's line) for the lines of an area of a map; a line
/// is one row of one block of channels.
template <class Body>
void each_line(const FeatureMap& map, const Area& area, ThreadPool& pool, Body body) {
    const auto lanes = static_cast<std::size_t>(map.block);
    const std::size_t run = static_cast<std::size_t>(area.width) * lanes;
    const std::size_t row = static_cast<std::size_t>(map.width) * lanes;
    const std::int64_t lines = static_cast<std::int64_t>(map.channels / map.block) * area.height;
    const std::int64_t grain =
        std::max<std::int64_t>(1, (1 << 15) / static_cast<std::int64_t>(run));
    pool.for_ranges(lines, grain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t line = begin; line < end; ++line) {
            const std::int64_t y = line / area.height * map.height + area.top + line % area.height;
            body(map.data + static_cast<std::size_t>(y) * row +
                     static_cast<std::size_t>(area.left) * lanes,
                 static_cast<std::size_t>(line) * run, run);
        }
    });
}

/// An area of a map as a map of its own.
FeatureMap take(const FeatureMap& map, const Area& area, Buffer<float>& to, ThreadPool& pool) {
    FeatureMap part{nullptr, map.channels, area.height, area.width, map.block};
    reserve(to, part.size());
    part.data = to.data();
    each_line(map, area, pool, [&](const float* from, std::size_t at, std::size_t run) {
        std::copy(from, from + run, part.data + at);
    });
    return part;
}

/// The way back: replaces the area's values, or adds to them.
void give(const FeatureMap& part, const FeatureMap& map, const Area& area, bool add,
          ThreadPool& pool) {
    each_line(map, area, pool, [&](float* to, std::size_t at, std::size_t run) {
        const float* from = part.data + at;
        if (!add)
            std::copy(from, from + run, to);
        else
            for (std::size_t i = 0; i < run; ++i) to[i] += from[i];
    });
}

/// Sets the values of a map outside an area to 0.
void clear_outside(const FeatureMap& map, const Area& area, ThreadPool& pool) {
    const Area all{0, 0, map.height, map.width};
    const auto lanes = static_cast<std::size_t>(map.block);
    const std::size_t left = static_cast<std::size_t>(area.left) * lanes,
                      right = static_cast<std::size_t>(area.left + area.width) * lanes;
    each_line(map, all, pool, [&](float* to, std::size_t at, std::size_t run) {
        const auto y = static_cast<int>(at / run % static_cast<std::size_t>(map.height));
        if (y < area.top || y >= area.top + area.height) {
            std::fill(to, to + run, 0.0f);
        } else {
            std::fill(to, to + left, 0.0f);
            std::fill(to + right, to + run, 0.0f);
        }
    });
}

/// Runs body(band) for the bands of an area.
template <class Body>
void each_band(const Area& area, int channels, Body body) {
    const std::size_t row =
        static_cast<std::size_t>(area.width) * static_cast<std::size_t>(channels);
    const auto rows = static_cast<int>(std::max<std::size_t>(1, band_values / row));
    for (int y = 0; y < area.height; y += rows)
        body(Area{area.top + y, area.left, std::min(rows, area.height - y), area.width});
}

/// Adds the sums over a map's positions, channel by channel.
void add_sums(const FeatureMap& map, std::vector<double>& sums, ThreadPool& pool) {
    const auto lanes = static_cast<std::size_t>(map.block);
    const std::size_t run = map.positions() * lanes;
    pool.for_ranges(map.channels / map.block, 1, [&](std::int64_t begin, std::int64_t end) {
        for (auto panel = static_cast<std::size_t>(begin); panel < static_cast<std::size_t>(end);
             ++panel) {
            const float* from = map.data + panel * run;
            for (std::size_t i = 0; i < run; i += lanes)
                for (std::size_t l = 0; l < lanes; ++l) sums[panel * lanes + l] += from[i + l];
        }
    });
}

/// What a tile owns of a tap, in the tile's own positions.
Area within(const Area& owned, const Area& tile, int stride) {
    return {owned.top - tile.top / stride, owned.left - tile.left / stride, owned.height,
            owned.width};
}

}  // namespace

TiledObjective::TiledObjective(std::vector<TiledNetwork> networks, int height, int width,
                               std::shared_ptr<ThreadPool> pool, int wrap)
    : ImageObjective(height, width, std::move(pool), wrap), networks_(std::move(networks)) {
    std::size_t largest = 0;
    for (const TiledNetwork& tiled : networks_) {
        const TileGrid& grid = tiled.grid;
        require(tiled.network != nullptr, "an objective's networks must not be None");
        require(grid.image_height() == height + 2 * wrap && grid.image_width() == width + 2 * wrap,
                "a grid is one of ", grid.image_height(), " x ", grid.image_width(),
                " images, the objective's networks see ", height + 2 * wrap, " x ",
                width + 2 * wrap);
        require(tiled.network->height() == grid.height() && tiled.network->width() == grid.width(),
                "a network is sized for ", tiled.network->height(), " x ", tiled.network->width(),
                " images, its grid's tiles are ", grid.height(), " x ", grid.width());
        require(tiled.strides.size() == tiled.network->taps().size(), "expected ",
                tiled.network->taps().size(), " strides, one per tap, not ", tiled.strides.size());
        largest = std::max(largest, static_cast<std::size_t>(grid.height()) * grid.width());
    }
    tile_.resize(3 * largest);
    tile_gradient_.resize(3 * largest);
}

TiledObjective::Tap TiledObjective::tap(std::size_t network, std::size_t tap) const {
    const TiledNetwork& tiled = networks_[network];
    const int stride = tiled.strides[tap];
    FeatureMap whole = tiled.network->feature(tap);
    whole.data = nullptr;
    whole.height = tiled.grid.image_height() / stride;
    whole.width = tiled.grid.image_width() / stride;
    return {whole, stride};
}

void TiledObjective::add_layer_term(std::size_t network, std::size_t tap,
                                    std::shared_ptr<LayerTerm> term, double weight,
                                    std::string name) {
    require(term != nullptr, "the term of ", name, " must not be None");
    require(network < networks_.size(), name, " asks for network ", network, "; there are ",
            networks_.size());
    require(tap < networks_[network].strides.size(), name, " asks for tap ", tap,
            "; the network has ", networks_[network].strides.size());
    require(term->is_tileable(), name, " cannot be tiled: it needs the whole layer at once");
    term->bind(this->tap(network, tap).whole);
    add({std::move(term), nullptr, network, tap}, weight, std::move(name));
    targets_.resize(parts_.size());
}

void TiledObjective::add_content(std::size_t network, std::size_t tap,
                                 std::vector<ContentSource> sources, Normalization normalization,
                                 bool keep, std::shared_ptr<ScratchFile> file, double weight,
                                 std::string name) {
    require(network < networks_.size() && tap < networks_[network].strides.size(), name,
            " asks for tap ", tap, " of network ", network, ", which is not there");
    require(!sources.empty(), name, " needs at least one image");
    const TileGrid& grid = networks_[network].grid;
    for (const ContentSource& source : sources)
        require(source.image.height + 2 * source.image.border == grid.image_height() &&
                    source.image.width + 2 * source.image.border == grid.image_width(),
                "an image of ", name, " has another size than the objective's networks see");

    Target target;
    if (file && !keep) target.offsets.push_back(0);
    double squares = 0.0;
    const Tap layer = this->tap(network, tap);
    std::vector<double> sums(static_cast<std::size_t>(layer.whole.channels), 0.0);
    for (int tile = 0; tile < grid.count(); ++tile) {
        if (!keep && !file && normalization != Normalization::relative) break;
        const FeatureMap map = compute_target(network, tile, tap, sources, target.values);
        squares += dot(map.data, map.data, map.size(), *pool_);
        add_sums(map, sums, *pool_);
        if (keep) {
            target.kept.push_back(std::exchange(target.values, Buffer<float>()));
        } else if (file) {
            const std::size_t bytes = map.size() * sizeof(float);
            file->write(target.offsets.back(), map.data, bytes, *pool_);
            target.offsets.push_back(target.offsets.back() + bytes);
        }
    }
    if (!keep) target.file = std::move(file);
    const auto positions = static_cast<double>(layer.whole.positions());
    double means = 0.0;
    for (double sum : sums) means += sum * sum / positions;
    const double count = positions * static_cast<double>(sums.size());
    require(std::isfinite(squares), "the images of ", name,
            " hold values that are infinite or not a number");
    target.term =
        std::make_shared<ContentTerm>(content_scale(normalization, squares, means, count));
    target.sources = std::move(sources);
    add({target.term, nullptr, network, tap}, weight, std::move(name));
    targets_.resize(parts_.size());
    targets_.back() = std::move(target);
}

TileSource TiledObjective::seen(const float* x) const {
    return {x, height_, width_, wrap_, TileSource::Border::cyclic};
}

bool TiledObjective::is_active(std::size_t part, std::size_t network,
                               const std::vector<double>& weights) const {
    return parts_[part].layer_term && parts_[part].network == network && weights[part] != 0.0;
}

void TiledObjective::forward(std::size_t n, const TileSource& image, int tile) {
    const Area area = networks_[n].grid.tile(tile);
    image.read(area, tile_.data());
    networks_[n].network->forward(tile_.data());
}

/// The first pass; whether any term needed it.
bool TiledObjective::gather(std::size_t n, const TileSource& image,
                            const std::vector<double>& weights) {
    bool needs_sums = false;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        if (!is_active(i, n, weights)) continue;
        parts_[i].layer_term->start();
        needs_sums = needs_sums || parts_[i].layer_term->needs_sums();
    }
    if (!needs_sums) return false;
    const TiledNetwork& tiled = networks_[n];
    for (int tile = 0; tile < tiled.grid.count(); ++tile) {
        forward(n, image, tile);
        for (std::size_t tap = 0; tap < tiled.strides.size(); ++tap) {
            std::vector<LayerTerm*> terms;
            for (std::size_t i = 0; i < parts_.size(); ++i)
                if (is_active(i, n, weights) && parts_[i].tap == tap &&
                    parts_[i].layer_term->needs_sums())
                    terms.push_back(parts_[i].layer_term.get());
            if (terms.empty()) continue;
            const Tap layer = this->tap(n, tap);
            const Area owned = tiled.grid.owned(tile, layer.stride);
            const FeatureMap map = tiled.network->feature(tap);
            each_band(owned, map.channels, [&](const Area& band) {
                const Area here = within(band, tiled.grid.tile(tile), layer.stride);
                const FeatureMap part = take(map, here, band_, *pool_);
                const Place place{layer.whole.height, layer.whole.width, band.top, band.left};
                for (LayerTerm* term : terms) term->gather(part, place, *pool_);
            });
        }
    }
    return true;
}

void TiledObjective::gather(const float* x) {
    for (std::size_t n = 0; n < networks_.size(); ++n) gather(n, seen(x), weights_);
}

void TiledObjective::settle(std::size_t n, const std::vector<double>& weights) {
    for (std::size_t i = 0; i < parts_.size(); ++i)
        if (is_active(i, n, weights)) values_[i] = weights[i] * parts_[i].layer_term->settle();
}

/// Σ share · features of the sources at what a tile owns of a tap.
FeatureMap TiledObjective::compute_target(std::size_t n, int tile, std::size_t tap,
                                          const std::vector<ContentSource>& sources,
                                          Buffer<float>& values) {
    const TiledNetwork& tiled = networks_[n];
    const int stride = tiled.strides[tap];
    const Area here = within(tiled.grid.owned(tile, stride), tiled.grid.tile(tile), stride);
    FeatureMap target;
    for (const ContentSource& source : sources) {
        forward(n, source.image, tile);
        const FeatureMap map = tiled.network->feature(tap);
        const auto share = static_cast<float>(source.share);
        if (target.data == nullptr) {
            target = take(map, here, values, *pool_);
            if (share != 1.0f) vector_kernels().scale(share, target.data, target.size());
            continue;
        }
        each_line(map, here, *pool_, [&](const float* from, std::size_t at, std::size_t run) {
            vector_kernels().axpy(share, from, target.data + at, run);
        });
    }
    return target;
}

/// Shows content terms the targets of a tile.
void TiledObjective::aim(std::size_t n, int tile, const std::vector<double>& weights) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        Target& target = targets_[i];
        if (!is_active(i, n, weights) || !target.term) continue;
        const Tap layer = this->tap(n, parts_[i].tap);
        const Area owned = networks_[n].grid.owned(tile, layer.stride);
        FeatureMap map{nullptr, layer.whole.channels, owned.height, owned.width, layer.whole.block};
        const auto place = static_cast<std::size_t>(tile);
        if (target.is_computed()) {
            map = compute_target(n, tile, parts_[i].tap, target.sources, target.values);
        } else if (target.file) {
            reserve(target.values, map.size());
            map.data = target.values.data();
            target.file->read(target.offsets[place], map.data, target.bytes(place), *pool_);
            // The next one comes while the network is at work.
            if (place > 0)
                target.file->announce(target.offsets[place - 1], target.bytes(place - 1));
        } else {
            map.data = target.kept[place].data();
        }
        target.term->aim(map, {layer.whole.height, layer.whole.width, owned.top, owned.left});
    }
}

/// See WriteCotangent.
bool TiledObjective::write(std::size_t n, int tile, const std::vector<double>& weights,
                           std::size_t tap, const FeatureMap& map, bool add) {
    std::vector<std::size_t> active;
    for (std::size_t i = 0; i < parts_.size(); ++i)
        if (is_active(i, n, weights) && parts_[i].tap == tap) active.push_back(i);
    if (active.empty()) return false;
    const TiledNetwork& tiled = networks_[n];
    const Tap layer = this->tap(n, tap);
    const FeatureMap feature = tiled.network->feature(tap);
    const Area owned = tiled.grid.owned(tile, layer.stride), area = tiled.grid.tile(tile);
    if (!add) clear_outside(map, within(owned, area, layer.stride), *pool_);
    each_band(owned, map.channels, [&](const Area& band) {
        const Area here = within(band, area, layer.stride);
        const FeatureMap part = take(feature, here, band_, *pool_);
        reserve(slopes_, part.size());
        FeatureMap slopes = part;
        slopes.data = slopes_.data();
        const Place place{layer.whole.height, layer.whole.width, band.top, band.left};
        bool started = false;
        for (std::size_t i : active) {
            values_[i] += weights[i] * parts_[i].layer_term->pull(
                                           part, place, {slopes, weights[i], started}, *pool_);
            started = true;
        }
        give(slopes, map, here, add, *pool_);
    });
    return true;
}

/// Adds what a tile's image gradient says about the image; the continuation's to where it shows.
void TiledObjective::add_gradient(const Area& area, const float* from, float* gradient) {
    const TileSource image = seen(gradient);
    std::vector<int> columns(static_cast<std::size_t>(area.width));
    for (int x = 0; x < area.width; ++x)
        columns[static_cast<std::size_t>(x)] = image.shows(area.left + x, width_);
    pool_->for_ranges(3, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t c = begin; c < end; ++c)
            for (int y = 0; y < area.height; ++y) {
                const auto row =
                    static_cast<std::size_t>(c) * height_ + image.shows(area.top + y, height_);
                float* to = gradient + row * static_cast<std::size_t>(width_);
                const float* line =
                    from + (static_cast<std::size_t>(c) * area.height + y) * area.width;
                for (int x = 0; x < area.width; ++x)
                    to[columns[static_cast<std::size_t>(x)]] += line[x];
            }
    });
}

/// The second pass. last_is_there: the network holds the last tile's features already.
void TiledObjective::pull(std::size_t n, const TileSource& image,
                          const std::vector<double>& weights, bool last_is_there, float* gradient) {
    const TiledNetwork& tiled = networks_[n];
    bool has_targets = false;
    for (std::size_t i = 0; i < parts_.size(); ++i)
        has_targets = has_targets || (is_active(i, n, weights) && targets_[i].is_computed());
    for (int tile = tiled.grid.count() - 1; tile >= 0; --tile) {
        aim(n, tile, weights);
        if (tile + 1 < tiled.grid.count() || !last_is_there || has_targets) forward(n, image, tile);
        tiled.network->backward([&](std::size_t tap, const FeatureMap& map,
                                    bool add) { return write(n, tile, weights, tap, map, add); },
                                tile_gradient_.data());
        add_gradient(tiled.grid.tile(tile), tile_gradient_.data(), gradient);
    }
}

void TiledObjective::pull_layers(const float* x, float* gradient) {
    targets_.resize(parts_.size());
    clear(gradient, size());
    std::fill(values_.begin(), values_.end(), 0.0);
    for (std::size_t n = 0; n < networks_.size(); ++n) {
        bool pulls = false;
        for (std::size_t i = 0; i < parts_.size(); ++i) pulls = pulls || is_active(i, n, weights_);
        if (!pulls) continue;
        const bool ran = gather(n, seen(x), weights_);
        settle(n, weights_);
        pull(n, seen(x), weights_, ran, gradient);
    }
}

void TiledObjective::layer_norms(const float* x, std::vector<double>& norms) {
    targets_.resize(parts_.size());
    const std::vector<double> kept = values_;
    const std::vector<double> all(parts_.size(), 1.0);
    Buffer<float> gradient;
    for (std::size_t n = 0; n < networks_.size(); ++n) {
        gather(n, seen(x), all);
        settle(n, all);
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            if (!is_active(i, n, all)) continue;
            std::vector<double> alone(parts_.size(), 0.0);
            alone[i] = 1.0;
            gradient.resize(size());  // clears it
            pull(n, seen(x), alone, false, gradient.data());
            norms[i] = norm1(gradient.data(), size(), *pool_);
        }
    }
    values_ = kept;
}

}  // namespace fastsynth
