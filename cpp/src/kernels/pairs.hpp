// What the products by pairs share (winograd.pairs.cpp says what they are). Only *.pairs.cpp files
// include this.
#pragma once

#include <utility>

#include "bits.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

// A broadcast in the operand of an addition or multiply-add is free, where an instruction of its
// own occupies a pipe; and GCC makes one of every value that is used twice. Hence assembly.

/// a + x
FASTSYNTH_INLINE Floats add_broadcast(Floats a, const float& x) {
    Floats sum;
    asm("vaddps %2%{1to16%}, %1, %0" : "=v"(sum) : "v"(a), "m"(x));
    return sum;
}

/// a - x
FASTSYNTH_INLINE Floats subtract_broadcast(Floats a, const float& x) {
    Floats difference;
    asm("vsubps %2%{1to16%}, %1, %0" : "=v"(difference) : "v"(a), "m"(x));
    return difference;
}

/// sum += a x
FASTSYNTH_INLINE void multiply_add_broadcast(Floats& sum, Floats a, const float& x) {
    asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(a), "m"(x));
}

/// The channel whose values stand in a row of weights: the two of a pair follow each other, so that
/// weights are read as one stream. The last block, if it has no partner, keeps its order.
constexpr std::size_t paired_channel(std::size_t row, std::size_t channels) {
    constexpr std::size_t both = 2 * lanes;
    if (row >= channels / both * both) return row;
    return row / both * both + row % both / 2 + row % 2 * lanes;
}

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
