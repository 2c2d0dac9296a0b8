// MemoryPlan: where arrays lie that are in use at different times, so that they share memory.
//
// Each array is in use over an interval of steps. Arrays whose intervals overlap must not overlap
// in memory. Placing the largest first (of equal ones the earliest), each as low as it fits, comes
// close to the least possible: the largest sum of arrays that are in use at one step. (Exactly
// least is NP-hard.)
#pragma once

#include <cstddef>
#include <vector>

#include "fastsynth/common/buffer.hpp"

namespace fastsynth {

class MemoryPlan {
  public:
    /// Asks for `floats` values that are in use from step `first` to step `last`, both included;
    /// `place` points to them after `allocate`.
    void add(std::size_t floats, int first, int last, float*& place);

    /// Finds places for all arrays.
    void arrange();

    /// Allocates all arrays where `arrange` placed them, aligned to 64 bytes, zero at first.
    void allocate();

    /// Bytes that `allocate` takes.
    std::size_t bytes() const { return total_ * sizeof(float); }

  private:
    struct Array {
        std::size_t floats;
        int first, last;
        float** place;
        std::size_t offset;
    };
    /// The lowest offset that keeps clear of the arrays placed so far.
    std::size_t lowest_offset(const Array& array, std::vector<Array>::iterator placed);

    std::vector<Array> arrays_;
    std::size_t total_ = 0;
    Buffer<float> memory_;
};

}  // namespace fastsynth
