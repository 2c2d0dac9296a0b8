#include "network/native/conv_step.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "kernels/stopwatch.hpp"

namespace fastsynth {
namespace {

constexpr int seconds_per_worker = 8;

/// Tiles per task. Many tiles read the weights less often; few fit the caches. Measured (Zen 4,
/// 512² VGG16): flat within 2 % from 28 to 112 tiles, with the optimum at these. Taking two packs
/// of output channels per pass over V was slower.
/// Where tasks transform the weights themselves, more tiles would share that work, but more of L3
/// is needed: 64 to 128 are equally fast.
int preferred_group(int channels, bool is_transformed) {
    if (!is_transformed) return 72;
    return channels <= 128 ? 45 : 84;
}

/// Groups of about so many tiles, in full micro-kernels of `most` tiles where there are many.
int group_count(int tiles, int preferred, int most) {
    const int full = std::max(1, (preferred + most / 2) / most) * most;
    return tiles >= 16 * full ? (tiles + full - 1) / full
                              : std::max(1, (tiles + preferred / 2) / preferred);
}

}  // namespace

int tile_count(int height, int width, int m) {
    const std::int64_t rows = (height + m - 1) / m, columns = (width + m - 1) / m;
    // A map of more tiles is counted, never held.
    return static_cast<int>(
        std::min<std::int64_t>(rows * columns, std::numeric_limits<int>::max() / 2));
}

void WorkerScratch::allocate(int workers) {
    memory_.clear();
    for (int worker = 0; worker < workers; ++worker) memory_.emplace_back(floats_);
}

ConvStep::ConvStep(std::string name, const Convolution& geometry, int in, int out,
                   const WinogradKernels& kernels, int threads)
    : conv(geometry), kernels_(&kernels) {
    const ConvKernels& set = conv_kernels();
    const int m = kernels.m;
    tiles_ = tile_count(conv.height, conv.width, m);
    packs_ = (conv.out_blocks * set.lanes + set.out_pack - 1) / set.out_pack;
    groups_ = group_count(tiles_, preferred_group(in, conv.is_transformed), kernels.tiles);
    parts_ = 1;
    if (groups_ < 16 * threads) {
        // Few groups: make their number a multiple of the threads, lest some wait while others
        // compute a last one, as long as each still fills a micro-kernel (and is worth
        // transforming the weights for) …
        const int rounded = (groups_ + threads - 1) / threads * threads;
        const bool shares_weights = conv.is_transformed || tiles_ > 2 * kernels.tiles;
        if (tiles_ / rounded >= kernels.tiles && shares_weights) {
            groups_ = rounded;
        } else if (groups_ < 4 * threads) {
            // … and else share the output channels, which costs each part an input transform of its
            // own.
            parts_ = std::min(packs_, (threads + groups_ - 1) / groups_);
        }
    }
    largest_group_ = (tiles_ + groups_ - 1) / groups_;

    profile_.name = std::move(name);
    profile_.backward = conv.is_backward;
    profile_.m = m;
    profile_.direct_flops = 18.0 * in * out * conv.height * conv.width;
    profile_.product_flops =
        2.0 * (m + 2) * (m + 2) * tiles_ * conv.in_blocks * set.lanes * packs_ * set.out_pack;
}

void ConvStep::task(std::int64_t index, int worker, WorkerScratch& scratch) {
    const int group = static_cast<int>(index) / parts_, part = static_cast<int>(index) % parts_;
    const auto share = [](int i, int count, int shares) {
        return static_cast<int>(static_cast<std::int64_t>(count) * i / shares);
    };
    ConvTask work;
    work.first_tile = share(group, tiles_, groups_);
    work.tiles = share(group + 1, tiles_, groups_) - work.first_tile;
    work.first_output = share(part, packs_, parts_);
    work.last_output = share(part + 1, packs_, parts_);
    work.scratch = scratch.of(worker);
    if (!seconds_.empty()) work.seconds = seconds_.data() + worker * seconds_per_worker;
    kernels_->run(conv, work);
}

void ConvStep::run(ThreadPool& pool, WorkerScratch& scratch) {
    const double start = steady_seconds();
    const auto body = [this, &scratch](std::int64_t index, int worker) {
        task(index, worker, scratch);
    };
    pool.run(static_cast<std::int64_t>(groups_) * parts_,
             std::cref(body));  // a reference: nothing is allocated
    profile_.wall_seconds += steady_seconds() - start;
    ++profile_.passes;
}

void ConvStep::set_profiling(bool on, int threads) {
    seconds_.assign(on ? static_cast<std::size_t>(threads) * seconds_per_worker : 0, 0.0);
    profile_.wall_seconds = 0.0;
    profile_.passes = 0;
}

LayerProfile ConvStep::profile() const {
    LayerProfile result = profile_;
    for (std::size_t i = 0; i < seconds_.size(); i += seconds_per_worker)
        for (std::size_t part = 0; part < 3; ++part)
            result.part_seconds[part] += seconds_[i + part];
    return result;
}

}  // namespace fastsynth
