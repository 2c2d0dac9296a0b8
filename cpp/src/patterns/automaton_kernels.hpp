// AutomatonKernels: steps of cellular automata, 64 cells to a word. Internal to the core.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastsynth {

struct AutomatonKernels {
    /// One step of an elementary automaton. `row` has a word on either side of its `words`, whose
    /// bits next to the row are its neighbours. Cell i is bit i % 64 of word i / 64.
    void (*elementary)(int rule, const std::uint64_t* row, std::uint64_t* next, std::size_t words);

    /// One row of one step of an outer totalistic automaton, rows with borders as above. ages: 8
    /// planes of `words`, the bits of a counter per cell: 0 where the cell changes, else one more,
    /// up to 255.
    void (*life)(const std::uint64_t* above, const std::uint64_t* row, const std::uint64_t* below,
                 std::uint32_t birth, std::uint32_t survival, std::uint64_t* next,
                 std::uint64_t* ages, std::size_t words);
};

const AutomatonKernels& automaton_kernels();

}  // namespace fastsynth
