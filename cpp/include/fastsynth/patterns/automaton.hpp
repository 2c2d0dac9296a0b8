// Cellular automata, 64 cells to a word: every step is a few logical operations per word.
#pragma once

#include <cstdint>
#include <vector>

#include "fastsynth/common/parallel.hpp"
#include "fastsynth/patterns/surface.hpp"

namespace fastsynth {

enum class Boundary {
    zero,  // cells outside are 0
    wrap,  // the last cell is the neighbour of the first
    open,  // an endless row (elementary automata alone): outside is what 0s become
};

/// Elementary automaton (Wolfram 1983): bit 4l + 2c + r of `rule` is the next state of a cell c
/// between l and r. start: `cells` states of 0 or 1. Returns rows × cells states; the first row is
/// the start.
std::vector<std::uint8_t> elementary_rows(int rule, const std::uint8_t* start, std::int64_t cells,
                                          std::int64_t rows, Boundary boundary);

enum class CellColor {
    state,         // 0 and 1: first and last colour
    neighborhood,  // by the neighbourhood 4l + 2c + r that made the cell, 0 … 7 over the palette
    row,  // 0: first colour; 1: over the palette from 0.3 in the first row to 1 in the last
};

/// The same, painted with cells of `cell` × `cell` pixels; the surface holds the left and upper
/// part where its size is no multiple. start has ⌈width / cell⌉ states.
void paint_elementary(int rule, const std::uint8_t* start, Boundary boundary, std::int64_t cell,
                      CellColor color, const Palette& palette, const Surface& surface,
                      ThreadPool& pool);

/// Outer totalistic automata with eight neighbours, such as Conway's Life B3/S23. Bit n of `birth`
/// (`survival`): a dead (living) cell with n living neighbours lives in the next step.
class LifeAutomaton {
  public:
    LifeAutomaton(std::uint32_t birth, std::uint32_t survival, const std::uint8_t* start,
                  std::int64_t height, std::int64_t width, Boundary boundary);

    void run(std::int64_t steps, ThreadPool& pool);

    std::uint8_t state(std::int64_t y, std::int64_t x) const;

    /// Steps since the cell last changed, at most 255; a cell that was dead from the start: 255.
    int age(std::int64_t y, std::int64_t x) const;

    std::int64_t height() const { return height_; }
    std::int64_t width() const { return width_; }

  private:
    friend struct LifeRow;
    static constexpr int planes = 8;  // of the age counter, one bit each

    std::uint64_t* row(std::vector<std::uint64_t>& cells, std::int64_t y) const {
        return cells.data() + (y + 1) * stride_ + 1;
    }
    void fill_borders(ThreadPool& pool);
    void step_row(std::int64_t y);

    std::uint32_t birth_, survival_;
    std::int64_t height_, width_, words_, stride_;
    Boundary boundary_;
    std::vector<std::uint64_t> now_, next_;  // with a word and a row of border on each side
    std::vector<std::uint64_t> ages_;        // height × planes × words
};

/// Paints an automaton with cells of `cell` × `cell` pixels. The palette's first half is for dead
/// cells, from never alive (first colour) to just died; the second for living ones, from just born
/// to old. `fade`: the number of steps over which ages are told apart.
void paint_life(const LifeAutomaton& automaton, std::int64_t cell, double fade,
                const Palette& palette, const Surface& surface, ThreadPool& pool);

}  // namespace fastsynth
