#include "fastsynth/objective/jitter.hpp"

#include <cstring>
#include <utility>

#include "fastsynth/common/error.hpp"

namespace fastsynth {
namespace {

/// One number of the SplitMix64 generator (Steele, Lea, Flood 2014).
std::uint64_t mixed(std::uint64_t state) {
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    state = (state ^ (state >> 27)) * 0x94d049bb133111ebu;
    return state ^ (state >> 31);
}

std::size_t wrapped(int shift, int size) {
    return static_cast<std::size_t>(((shift % size) + size) % size);
}

}  // namespace

Shift jitter_shift(std::uint64_t seed, std::uint64_t count, int jitter) {
    const std::uint64_t bits = mixed(mixed(seed) + (count + 1) * 0x9e3779b97f4a7c15u);
    const std::uint64_t range = 2 * static_cast<std::uint64_t>(jitter) + 1;
    return {static_cast<int>((bits >> 32) % range) - jitter,
            static_cast<int>((bits & 0xffffffffu) % range) - jitter};
}

JitteredObjective::JitteredObjective(std::shared_ptr<Objective> inner, int height, int width,
                                     int jitter, std::uint64_t seed,
                                     std::shared_ptr<ThreadPool> pool)
    : inner_(std::move(inner)),
      height_(height),
      width_(width),
      jitter_(jitter),
      seed_(seed),
      pool_(std::move(pool)) {
    require(inner_ != nullptr && pool_ != nullptr, "jitter needs an objective and a thread pool");
    require(jitter >= 0 && jitter <= (1 << 20), "jitter must be from 0 to 2^20 pixels, not ",
            jitter);
    require(height > 0 && width > 0 &&
                inner_->size() ==
                    3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width),
            "the objective has ", inner_->size(), " variables; expected 3 x ", height, " x ",
            width);
    if (jitter > 0) {
        shifted_.resize(inner_->size());
        gradient_.resize(inner_->size());
    }
}

void JitteredObjective::roll(const float* from, Shift shift, float* to) {
    const auto width = static_cast<std::size_t>(width_);
    const std::size_t across = wrapped(shift.across, width_);
    const auto down = static_cast<std::int64_t>(wrapped(shift.down, height_));
    pool_->for_ranges(3LL * height_, 64, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t line = begin; line < end; ++line) {
            const std::int64_t plane = line / height_, y = line % height_;
            const float* source = from + static_cast<std::size_t>(line) * width;
            float* target =
                to + static_cast<std::size_t>(plane * height_ + (y + down) % height_) * width;
            std::memcpy(target + across, source, (width - across) * sizeof(float));
            std::memcpy(target, source + (width - across), across * sizeof(float));
        }
    });
}

double JitteredObjective::evaluate(const float* x, float* gradient) {
    if (jitter_ == 0) return inner_->evaluate(x, gradient);
    const Shift shift = jitter_shift(seed_, count_++, jitter_);
    roll(x, shift, shifted_.data());
    const double value = inner_->evaluate(shifted_.data(), gradient_.data());
    roll(gradient_.data(), {-shift.down, -shift.across}, gradient);
    return value;
}

}  // namespace fastsynth
