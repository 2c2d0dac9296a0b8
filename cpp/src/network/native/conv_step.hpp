// One convolution of a network, ready to run: its geometry and how it is cut into tasks.
#pragma once

#include <string>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/parallel.hpp"
#include "fastsynth/network/native/native_network.hpp"
#include "kernels/conv_kernels.hpp"

namespace fastsynth {

/// Tiles of m×m outputs that cover a map.
int tile_count(int height, int width, int m);

/// Scratch memory of each worker of a network, large enough for its largest task.
class WorkerScratch {
  public:
    void reserve(std::size_t floats) { floats_ = floats > floats_ ? floats : floats_; }
    void allocate(int workers);
    float* of(int worker) { return memory_[static_cast<std::size_t>(worker)].data(); }
    std::size_t bytes(int workers) const {
        return static_cast<std::size_t>(workers) * floats_ * sizeof(float);
    }

  private:
    std::size_t floats_ = 0;
    std::vector<Buffer<float>> memory_;
};

class ConvStep {
  public:
    /// `conv` has its geometry and weights; inputs and outputs are set through `conv` before a run.
    /// `in` and `out` are the real channel counts.
    ConvStep(std::string name, const Convolution& conv, int in, int out,
             const WinogradKernels& kernels, int threads);

    Convolution conv;

    std::size_t scratch_floats() const { return kernels_->scratch_floats(conv, largest_group_); }
    void run(ThreadPool& pool, WorkerScratch& scratch);

    void set_profiling(bool on, int threads);
    LayerProfile profile() const;

  private:
    void task(std::int64_t index, int worker, WorkerScratch& scratch);

    const WinogradKernels* kernels_;
    LayerProfile profile_;
    int tiles_;          // m×m tiles of the picture
    int groups_;         // groups of consecutive tiles …
    int largest_group_;  // … of at most this size
    int packs_;          // packs of output channels
    int parts_;  // parts into which the packs are cut, when there are too few groups for all
                 // threads
    std::vector<double> seconds_;  // [worker][8]: 3 parts, and padding against false sharing
};

}  // namespace fastsynth
