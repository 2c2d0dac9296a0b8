// JitteredObjective: an image objective seen through random shifts, as DeepDream does it.
//
//   value and gradient at x = those of the objective at roll(x, d), the gradient rolled back by -d
//
// Networks look at fixed grids (pooling, the borders' zeros). Shifting the picture by d before each
// evaluation spreads what these grids leave in the gradient.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/parallel.hpp"
#include "fastsynth/objective/objective.hpp"

namespace fastsynth {

/// Where the `count`-th evaluation is shifted to: pixels down and to the right, each uniform over
/// -jitter … jitter. The same on every machine.
struct Shift {
    int down, across;
};
Shift jitter_shift(std::uint64_t seed, std::uint64_t count, int jitter);

class JitteredObjective final : public Objective {
  public:
    /// inner: of planar (3, height, width) images. jitter: pixels, at least 0.
    JitteredObjective(std::shared_ptr<Objective> inner, int height, int width, int jitter,
                      std::uint64_t seed, std::shared_ptr<ThreadPool> pool);

    std::size_t size() const override { return inner_->size(); }
    const std::vector<std::string>& names() const override { return inner_->names(); }
    const std::vector<double>& values() const override { return inner_->values(); }
    double evaluate(const float* x, float* gradient) override;

  private:
    void roll(const float* from, Shift shift, float* to);

    std::shared_ptr<Objective> inner_;
    int height_, width_, jitter_;
    std::uint64_t seed_, count_ = 0;
    std::shared_ptr<ThreadPool> pool_;
    Buffer<float> shifted_, gradient_;
};

}  // namespace fastsynth
