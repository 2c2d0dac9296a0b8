#include "fastsynth/synthesize/patch_field.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/kernel_set.hpp"

namespace fastsynth {

namespace portable {
extern const PatchKernels patch_table;
}
#ifdef FASTSYNTH_X86
namespace avx2 {
extern const PatchKernels patch_table;
}
namespace avx512 {
extern const PatchKernels patch_table;
}
#endif

const PatchKernels& patch_kernels() {
#ifdef FASTSYNTH_X86
    static const PatchKernels& table =
        choose(portable::patch_table, avx2::patch_table, avx512::patch_table);
    return table;
#else
    return portable::patch_table;
#endif
}

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr int tile_side = 32;
// Tiles between two questions whether to stop: some 50 ms of work on one core.
constexpr std::int64_t tiles_per_batch = 128;

/// SplitMix64 (Steele, Lea, Flood 2014): good enough for samples, and it starts from any number.
class Random {
  public:
    explicit Random(std::uint64_t state) : state_(state) {}
    std::uint64_t next() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    /// Uniform in [low, high].
    static int between(int low, int high, std::uint32_t bits) {
        const auto range = static_cast<std::uint64_t>(high - low + 1);
        return low + static_cast<int>((bits * range) >> 32);
    }

  private:
    std::uint64_t state_;
};

/// Gaussian weights of a patch with standard deviation patch / 5 (1 pixel at 5 × 5), sum 1.
std::vector<float> gaussian_window(int patch) {
    const double deviation = patch / 5.0, centre = (patch - 1) / 2.0;
    std::vector<double> line;
    for (int i = 0; i < patch; ++i) {
        const double x = (i - centre) / deviation;
        // Half a box: a pure Gaussian would hardly see the corners, and textures need them.
        line.push_back(0.5 * std::exp(-0.5 * x * x) + 0.5);
    }
    double sum = 0.0;
    for (double v : line) sum += v;
    std::vector<float> window;
    for (double u : line)
        for (double v : line) window.push_back(static_cast<float>(u * v / (sum * sum)));
    return window;
}

std::size_t pixels(Extent size) {
    return static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width);
}

}  // namespace

struct PatchField::Tile {
    int top, bottom, left, right;
    bool backwards;
    std::uint64_t seed;
};

PatchField::PatchField(const float* source, Extent source_size, Extent target_size, int channels,
                       int patch, const std::uint8_t* allowed, std::uint64_t seed, ThreadPool& pool)
    : source_(source_size), target_(target_size), channels_(channels), patch_(patch), seed_(seed) {
    require(patch >= 1 && patch <= 31, "patch must be 1 to 31 pixels, not ", patch);
    require(channels >= 1 && channels <= 64, "there must be 1 to 64 channels, not ", channels);
    for (const Extent size : {source_, target_})
        require(size.height >= patch && size.width >= patch, "a patch of ", patch,
                " pixels does not fit an image of ", size.width, " x ", size.height);
    field_ = {target_.height - patch + 1, target_.width - patch + 1};
    choices_ = {source_.height - patch + 1, source_.width - patch + 1};
    pitch_ = channels <= 2 ? 2 : (channels + 3) / 4 * 4;
    const int lanes = patch_kernels().lanes;
    length_ = (patch * pitch_ + lanes - 1) / lanes * lanes;
    // The last row of the last patch is read to the end of its vector.
    const auto slack = static_cast<std::size_t>(length_);
    source_pixels_.resize(pixels(source_) * static_cast<std::size_t>(pitch_) + slack);
    target_pixels_.resize(pixels(target_) * static_cast<std::size_t>(pitch_) + slack);
    interleave(source, source_, 0, channels, source_pixels_, pool);
    window_ = gaussian_window(patch);
    set_weights(std::vector<float>(static_cast<std::size_t>(channels), 1.0f));

    bias_.assign(pixels(choices_), 0.0f);
    blocked_.assign(pixels(choices_), 0);
    std::vector<std::int32_t> open;
    for (int y = 0; y < choices_.height; ++y)
        for (int x = 0; x < choices_.width; ++x) {
            const std::size_t i = choice(y, x);
            for (int dy = 0; allowed && dy < patch && !blocked_[i]; ++dy)
                for (int dx = 0; dx < patch; ++dx)
                    if (!allowed[static_cast<std::size_t>(y + dy) *
                                     static_cast<std::size_t>(source_.width) +
                                 static_cast<std::size_t>(x + dx)])
                        blocked_[i] = 1;
            if (blocked_[i])
                bias_[i] = infinity;
            else
                open.push_back(static_cast<std::int32_t>(i));
        }
    require(!open.empty(), "the allowed region of the source holds no whole patch of ", patch,
            " x ", patch, " pixels");

    places_.resize(2 * pixels(field_));
    distances_.resize(pixels(field_));
    start(open);
}

void PatchField::start(const std::vector<std::int32_t>& open) {
    Random random(seed_);
    const auto any = [&] {
        const auto bits = static_cast<std::uint32_t>(random.next() >> 32);
        return open[static_cast<std::size_t>(
            Random::between(0, static_cast<int>(open.size()) - 1, bits))];
    };
    const int side = 2 * patch_;
    for (int top = 0; top < field_.height; top += side)
        for (int left = 0; left < field_.width; left += side) {
            const std::int32_t corner = any();
            for (int y = top; y < std::min(field_.height, top + side); ++y)
                for (int x = left; x < std::min(field_.width, left + side); ++x) {
                    int sy = std::min(choices_.height - 1, corner / choices_.width + y - top);
                    int sx = std::min(choices_.width - 1, corner % choices_.width + x - left);
                    if (blocked_[choice(sy, sx)]) {
                        const std::int32_t other = any();
                        sy = other / choices_.width;
                        sx = other % choices_.width;
                    }
                    places_[2 * at(y, x)] = sy;
                    places_[2 * at(y, x) + 1] = sx;
                }
        }
}

void PatchField::interleave(const float* planes, Extent size, int first, int count,
                            Buffer<float>& out, ThreadPool& pool) const {
    require(first >= 0 && count >= 0 && first + count <= channels_, "channels ", first, " to ",
            first + count, " are not among the field's ", channels_);
    const auto plane = static_cast<std::int64_t>(pixels(size));
    pool.for_ranges(plane, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
        for (int c = 0; c < count; ++c)
            for (std::int64_t i = begin; i < end; ++i)
                out[static_cast<std::size_t>(i * pitch_ + first + c)] = planes[c * plane + i];
    });
}

void PatchField::set_target(const float* planes, int first, int count, ThreadPool& pool) {
    interleave(planes, target_, first, count, target_pixels_, pool);
    stale_ = true;
}

std::vector<float> PatchField::patch_weights(const std::vector<float>& channel_weights) const {
    require(channel_weights.size() == static_cast<std::size_t>(channels_), "there are ",
            channel_weights.size(), " weights for ", channels_, " channels");
    for (float w : channel_weights)
        require(std::isfinite(w) && w >= 0, "a channel's weight must be finite and not negative");
    std::vector<float> weights(static_cast<std::size_t>(patch_ * length_), 0.0f);
    for (int y = 0; y < patch_; ++y)
        for (int x = 0; x < patch_; ++x)
            for (int c = 0; c < channels_; ++c)
                weights[static_cast<std::size_t>(y * length_ + x * pitch_ + c)] =
                    window_[static_cast<std::size_t>(y * patch_ + x)] *
                    channel_weights[static_cast<std::size_t>(c)];
    return weights;
}

void PatchField::set_weights(const std::vector<float>& weights) {
    weights_ = patch_weights(weights);
    stale_ = true;
}

float PatchField::distance(int ty, int tx, int sy, int sx, float limit,
                           const std::vector<float>& weights) const {
    const auto corner = [&](int y, int x, Extent size) {
        return (static_cast<std::size_t>(y) * static_cast<std::size_t>(size.width) +
                static_cast<std::size_t>(x)) *
               static_cast<std::size_t>(pitch_);
    };
    const auto stride = static_cast<std::size_t>(pitch_);
    return patch_kernels().distance(target_pixels_.data() + corner(ty, tx, target_),
                                    stride * static_cast<std::size_t>(target_.width),
                                    source_pixels_.data() + corner(sy, sx, source_),
                                    stride * static_cast<std::size_t>(source_.width),
                                    weights.data(), patch_, length_, limit);
}

void PatchField::init_from(const PatchField& coarse) {
    // Offsets are kept between the centres of patches, in pixels of the finer level.
    const auto centre = [](int corner, int patch) { return corner + 0.5 * patch; };
    const double target_y = static_cast<double>(target_.height) / coarse.target_.height;
    const double target_x = static_cast<double>(target_.width) / coarse.target_.width;
    const double source_y = static_cast<double>(source_.height) / coarse.source_.height;
    const double source_x = static_cast<double>(source_.width) / coarse.source_.width;
    const auto parent = [&](int corner, double factor, int count) {
        const double c = centre(corner, patch_) / factor - 0.5 * coarse.patch_ + 0.5;
        return std::clamp(static_cast<int>(std::floor(c)), 0, count - 1);
    };
    const auto place = [&](int corner, int up, int source, double by_target, double by_source,
                           int count) {
        const double c = centre(source, coarse.patch_) * by_source + centre(corner, patch_) -
                         centre(up, coarse.patch_) * by_target - 0.5 * patch_;
        return std::clamp(static_cast<int>(std::floor(c + 0.5)), 0, count - 1);
    };
    for (int y = 0; y < field_.height; ++y) {
        const int up = parent(y, target_y, coarse.field_.height);
        for (int x = 0; x < field_.width; ++x) {
            const int left = parent(x, target_x, coarse.field_.width);
            const std::int32_t* from = &coarse.places_[2 * coarse.at(up, left)];
            const int sy = place(y, up, from[0], target_y, source_y, choices_.height);
            const int sx = place(x, left, from[1], target_x, source_x, choices_.width);
            if (blocked_[choice(sy, sx)]) continue;  // the random place stays
            places_[2 * at(y, x)] = sy;
            places_[2 * at(y, x) + 1] = sx;
        }
    }
    stale_ = true;
}

void PatchField::offer_same_place(ThreadPool& pool) {
    refresh(pool);
    const auto scaled = [](int corner, int fields, int choices) {
        return fields <= 1 ? (choices - 1) / 2
                           : static_cast<int>(static_cast<std::int64_t>(corner) * (choices - 1) /
                                              (fields - 1));
    };
    pool.run(field_.height, [&](std::int64_t row, int) {
        const int y = static_cast<int>(row);
        const int sy = scaled(y, field_.height, choices_.height);
        for (int x = 0; x < field_.width; ++x) {
            const int sx = scaled(x, field_.width, choices_.width);
            if (blocked_[choice(sy, sx)]) continue;
            const std::size_t i = at(y, x);
            const float d = distance(y, x, sy, sx, distances_[i], weights_);
            if (d > distances_[i]) continue;
            distances_[i] = d;
            places_[2 * i] = sy;
            places_[2 * i + 1] = sx;
        }
    });
}

void PatchField::rewind() {
    require(marked_.size() == places_.size(), "there is no mark to rewind to");
    places_ = marked_;
    stale_ = true;
}

void PatchField::refresh(ThreadPool& pool) {
    if (!stale_) return;
    pool.run(field_.height, [&](std::int64_t row, int) {
        const int y = static_cast<int>(row);
        for (int x = 0; x < field_.width; ++x) {
            const std::size_t i = at(y, x);
            distances_[i] = distance(y, x, places_[2 * i], places_[2 * i + 1], infinity, weights_);
        }
    });
    stale_ = false;
}

int PatchField::incoherent(int y, int x, int sy, int sx) const {
    const auto differs = [&](int dy, int dx) {
        const int ny = y + dy, nx = x + dx;
        if (ny < 0 || nx < 0 || ny >= field_.height || nx >= field_.width) return 0;
        const std::int32_t* place = &places_[2 * at(ny, nx)];
        return place[0] - dy == sy && place[1] - dx == sx ? 0 : 1;
    };
    return differs(-1, 0) + differs(1, 0) + differs(0, -1) + differs(0, 1);
}

void PatchField::sweep_tile(const Tile& tile, float coherence, int radius) {
    Random random(tile.seed);
    const int step = tile.backwards ? -1 : 1;
    const float price = 0.25f * coherence;
    for (int row = tile.top; row < tile.bottom; ++row)
        for (int column = tile.left; column < tile.right; ++column) {
            const int y = tile.backwards ? tile.top + tile.bottom - 1 - row : row;
            const int x = tile.backwards ? tile.left + tile.right - 1 - column : column;
            const std::size_t i = at(y, x);
            int best_y = places_[2 * i], best_x = places_[2 * i + 1];
            float best_distance = distances_[i];
            const auto bias_of = [&](int sy, int sx) { return bias_[choice(sy, sx)]; };
            const auto penalty = [&](int sy, int sx) {
                return price > 0 ? price * static_cast<float>(incoherent(y, x, sy, sx)) : 0.0f;
            };
            float best = best_distance + bias_of(best_y, best_x) + penalty(best_y, best_x);
            const auto offer = [&](int sy, int sx) {
                if (sy < 0 || sx < 0 || sy >= choices_.height || sx >= choices_.width) return;
                if (sy == best_y && sx == best_x) return;
                const float extra = bias_of(sy, sx) + penalty(sy, sx);
                if (!(extra < best)) return;
                const float d = distance(y, x, sy, sx, best - extra, weights_);
                if (!(d + extra < best)) return;
                best = d + extra;
                best_distance = d;
                best_y = sy;
                best_x = sx;
            };
            if (const int nx = x - step; nx >= 0 && nx < field_.width)
                offer(places_[2 * at(y, nx)], places_[2 * at(y, nx) + 1] + step);
            if (const int ny = y - step; ny >= 0 && ny < field_.height)
                offer(places_[2 * at(ny, x)] + step, places_[2 * at(ny, x) + 1]);
            for (int reach = radius; reach >= 1 && best > 0; reach /= 2) {
                const std::uint64_t bits = random.next();
                const int sy = Random::between(std::max(0, best_y - reach),
                                               std::min(choices_.height - 1, best_y + reach),
                                               static_cast<std::uint32_t>(bits));
                const int sx = Random::between(std::max(0, best_x - reach),
                                               std::min(choices_.width - 1, best_x + reach),
                                               static_cast<std::uint32_t>(bits >> 32));
                offer(sy, sx);
            }
            places_[2 * i] = best_y;
            places_[2 * i + 1] = best_x;
            distances_[i] = best_distance;
        }
}

bool PatchField::sweep(double coherence, int radius, ThreadPool& pool, const Poll& poll) {
    require(std::isfinite(coherence) && coherence >= 0,
            "coherence must be finite and not negative");
    refresh(pool);
    const int rows = (field_.height + tile_side - 1) / tile_side;
    const int columns = (field_.width + tile_side - 1) / tile_side;
    const std::uint64_t key = Random(seed_ + static_cast<std::uint64_t>(sweeps_)).next();
    const bool backwards = sweeps_++ % 2 != 0;
    for (int phase = 0; phase < 4; ++phase) {
        std::vector<Tile> tiles;
        for (int r = phase / 2; r < rows; r += 2)
            for (int c = phase % 2; c < columns; c += 2)
                tiles.push_back({r * tile_side, std::min(field_.height, (r + 1) * tile_side),
                                 c * tile_side, std::min(field_.width, (c + 1) * tile_side),
                                 backwards,
                                 key ^ (static_cast<std::uint64_t>(r) * 0x1f123bb5u +
                                        static_cast<std::uint64_t>(c) * 0x5851f42d4c957f2du)});
        const auto count = static_cast<std::int64_t>(tiles.size());
        for (std::int64_t begin = 0; begin < count; begin += tiles_per_batch) {
            if (poll && poll()) return false;
            pool.run(std::min(tiles_per_batch, count - begin), [&](std::int64_t t, int) {
                sweep_tile(tiles[static_cast<std::size_t>(begin + t)],
                           static_cast<float>(coherence), radius);
            });
        }
    }
    return true;
}

double PatchField::mean_distance(const std::vector<float>& weights, ThreadPool& pool) const {
    const std::vector<float> own = patch_weights(weights);
    const double sum = pool.sum(field_.height, 1, [&](std::int64_t row, std::int64_t) {
        const int y = static_cast<int>(row);
        double part = 0.0;
        for (int x = 0; x < field_.width; ++x) {
            const std::size_t i = at(y, x);
            part += static_cast<double>(
                distance(y, x, places_[2 * i], places_[2 * i + 1], infinity, own));
        }
        return part;
    });
    return sum / static_cast<double>(distances_.size());
}

}  // namespace fastsynth
