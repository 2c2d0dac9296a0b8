#include "fastsynth/patterns/automaton.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "fastsynth/common/error.hpp"
#include "patterns/automaton_kernels.hpp"

namespace fastsynth {
namespace {

using Words = std::vector<std::uint64_t>;

bool bit(const std::uint64_t* words, std::int64_t i) { return words[i >> 6] >> (i & 63) & 1; }

void set_bit(std::uint64_t* words, std::int64_t i, bool value) {
    const std::uint64_t mask = std::uint64_t{1} << (i & 63);
    words[i >> 6] = value ? words[i >> 6] | mask : words[i >> 6] & ~mask;
}

/// Sets bits -1 and `cells` of a row, which has a word of border on each side.
void set_borders(std::uint64_t* row, std::int64_t cells, Boundary boundary) {
    const bool wrap = boundary == Boundary::wrap;
    row[-1] = wrap && bit(row, cells - 1) ? std::uint64_t{1} << 63 : 0;
    set_bit(row, cells, wrap && bit(row, 0));
}

std::uint64_t last_mask(std::int64_t cells) {
    return cells % 64 ? (std::uint64_t{1} << (cells % 64)) - 1 : ~std::uint64_t{0};
}

/// Rows of an elementary automaton, one after the other. An open row is a ring so wide that nothing
/// which goes round it can reach the cells that are asked for.
class ElementaryRows {
  public:
    ElementaryRows(int rule, const std::uint8_t* start, std::int64_t cells, std::int64_t rows,
                   Boundary boundary)
        : rule_(rule),
          offset_(boundary == Boundary::open ? rows : 0),
          cells_(cells + 2 * offset_),
          boundary_(boundary == Boundary::zero ? Boundary::zero : Boundary::wrap),
          words_((cells_ + 63) / 64),
          now_(static_cast<std::size_t>(words_ + 2)),
          next_(now_.size()) {
        require(rule >= 0 && rule < 256, "the rule must be 0 to 255, not ", rule);
        require(cells > 0 && rows > 0, "there must be at least one cell and one row");
        for (std::int64_t i = 0; i < cells; ++i) set_bit(row(), offset_ + i, start[i] != 0);
        set_borders(row(), cells_, boundary_);
    }

    void step() {
        automaton_kernels().elementary(rule_, row(), next_.data() + 1,
                                       static_cast<std::size_t>(words_));
        std::swap(now_, next_);
        row()[words_ - 1] &= last_mask(cells_);
        set_borders(row(), cells_, boundary_);
    }

    bool at(std::int64_t i) const { return bit(now_.data() + 1, offset_ + i); }

    /// 4l + 2c + r at cell i.
    unsigned neighborhood(std::int64_t i) const {
        const std::uint64_t* words = now_.data() + 1;
        const std::int64_t place = offset_ + i;
        const bool left = place > 0 ? bit(words, place - 1) : words[-1] >> 63;
        return (left ? 4u : 0u) + (bit(words, place) ? 2u : 0u) + (bit(words, place + 1) ? 1u : 0u);
    }

  private:
    std::uint64_t* row() { return now_.data() + 1; }

    int rule_;
    std::int64_t offset_, cells_;
    Boundary boundary_;
    std::int64_t words_;
    Words now_, next_;
};

std::int64_t cells_of(std::int64_t pixels, std::int64_t cell) { return (pixels + cell - 1) / cell; }

/// Indices of one row of cells as indices of one row of pixels.
void stretch(const std::uint16_t* cells, std::int64_t cell, std::int64_t width,
             std::uint16_t* pixels) {
    for (std::int64_t x = 0, i = 0; x < width; x += cell, ++i)
        std::fill(pixels + x, pixels + std::min(x + cell, width), cells[i]);
}

}  // namespace

std::vector<std::uint8_t> elementary_rows(int rule, const std::uint8_t* start, std::int64_t cells,
                                          std::int64_t rows, Boundary boundary) {
    ElementaryRows automaton(rule, start, cells, rows, boundary);
    std::vector<std::uint8_t> out(static_cast<std::size_t>(rows * cells));
    for (std::int64_t y = 0; y < rows; ++y) {
        if (y) automaton.step();
        for (std::int64_t x = 0; x < cells; ++x)
            out[static_cast<std::size_t>(y * cells + x)] = automaton.at(x);
    }
    return out;
}

void paint_elementary(int rule, const std::uint8_t* start, Boundary boundary, std::int64_t cell,
                      CellColor color, const Palette& palette, const Surface& surface,
                      ThreadPool& pool) {
    require(cell > 0, "a cell must have at least one pixel, not ", cell);
    require(palette.size() >= 2 && palette.size() <= 65536, "2 to 65536 colours are needed");
    const std::int64_t cells = cells_of(surface.width, cell);
    const std::int64_t rows = cells_of(surface.height, cell);
    ElementaryRows automaton(rule, start, cells, rows, boundary);
    const IndexPainter painter(palette, surface);
    const auto last = static_cast<std::uint16_t>(palette.size() - 1);
    // The automaton runs ahead by a block of rows; the pool paints the block.
    constexpr std::int64_t block = 64;
    std::vector<std::uint16_t> indices(static_cast<std::size_t>(block * cells));
    std::vector<unsigned> made(static_cast<std::size_t>(cells), 0);
    for (std::int64_t first = 0; first < rows; first += block) {
        const std::int64_t count = std::min(block, rows - first);
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t y = first + i;
            std::uint16_t* out = indices.data() + i * cells;
            if (color == CellColor::neighborhood) {
                if (y == 0)  // what made the first row is not known: its own states
                    for (std::int64_t x = 0; x < cells; ++x)
                        made[static_cast<std::size_t>(x)] = automaton.at(x) ? 7 : 0;
                for (std::int64_t x = 0; x < cells; ++x)
                    out[x] =
                        static_cast<std::uint16_t>(made[static_cast<std::size_t>(x)] * last / 7);
                for (std::int64_t x = 0; x < cells; ++x)
                    made[static_cast<std::size_t>(x)] = automaton.neighborhood(x);
            } else {
                const std::int64_t place = last * 3 / 10 + last * 7 / 10 * y / rows;
                const auto alive =
                    color == CellColor::state ? last : static_cast<std::uint16_t>(place);
                for (std::int64_t x = 0; x < cells; ++x) out[x] = automaton.at(x) ? alive : 0;
            }
            if (y + 1 < rows) automaton.step();
        }
        pool.for_ranges(count, 8, [&](std::int64_t begin, std::int64_t end) {
            std::vector<std::uint16_t> pixels(static_cast<std::size_t>(surface.width));
            for (std::int64_t i = begin; i < end; ++i) {
                stretch(indices.data() + i * cells, cell, surface.width, pixels.data());
                const std::int64_t top = (first + i) * cell;
                painter.write_row(pixels.data(), top);
                for (std::int64_t y = top + 1; y < std::min(top + cell, surface.height); ++y)
                    painter.repeat_row(top, y);
            }
        });
    }
}

LifeAutomaton::LifeAutomaton(std::uint32_t birth, std::uint32_t survival, const std::uint8_t* start,
                             std::int64_t height, std::int64_t width, Boundary boundary)
    : birth_(birth),
      survival_(survival),
      height_(height),
      width_(width),
      words_((width + 63) / 64),
      stride_(words_ + 2),
      boundary_(boundary) {
    require(height > 0 && width > 0, "there must be at least one cell");
    require(birth < 512 && survival < 512, "a cell has at most 8 neighbours");
    require(boundary != Boundary::open, "a plane of cells is bounded by zero or wrap");
    now_.assign(static_cast<std::size_t>((height + 2) * stride_), 0);
    next_ = now_;
    ages_.assign(static_cast<std::size_t>(height * planes * words_), 0);
    for (std::int64_t y = 0; y < height; ++y) {
        for (std::int64_t x = 0; x < width; ++x)
            set_bit(row(now_, y), x, start[y * width + x] != 0);
        // Ages: 0 for the living, 255 (all planes set) for the dead.
        for (int plane = 0; plane < planes; ++plane)
            for (std::int64_t i = 0; i < words_; ++i)
                ages_[static_cast<std::size_t>((y * planes + plane) * words_ + i)] =
                    ~row(now_, y)[i];
    }
}

void LifeAutomaton::fill_borders(ThreadPool& pool) {
    pool.for_ranges(height_, 256, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t y = begin; y < end; ++y) set_borders(row(now_, y), width_, boundary_);
    });
    const auto copy = [&](std::int64_t from, std::int64_t to) {
        std::copy_n(row(now_, from) - 1, stride_, row(now_, to) - 1);
    };
    if (boundary_ == Boundary::wrap) {
        copy(height_ - 1, -1);
        copy(0, height_);
    } else {
        std::fill_n(row(now_, -1) - 1, stride_, 0);
        std::fill_n(row(now_, height_) - 1, stride_, 0);
    }
}

void LifeAutomaton::step_row(std::int64_t y) {
    automaton_kernels().life(row(now_, y - 1), row(now_, y), row(now_, y + 1), birth_, survival_,
                             row(next_, y), ages_.data() + y * planes * words_,
                             static_cast<std::size_t>(words_));
    row(next_, y)[words_ - 1] &= last_mask(width_);
}

void LifeAutomaton::run(std::int64_t steps, ThreadPool& pool) {
    require(steps >= 0, "the number of steps is negative");
    // A task of about 16 K words, so that small planes do not pay for waking threads.
    const std::int64_t grain = std::max<std::int64_t>(1, 16384 / words_);
    for (std::int64_t i = 0; i < steps; ++i) {
        fill_borders(pool);
        pool.for_ranges(height_, grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t y = begin; y < end; ++y) step_row(y);
        });
        std::swap(now_, next_);
    }
}

std::uint8_t LifeAutomaton::state(std::int64_t y, std::int64_t x) const {
    return bit(now_.data() + (y + 1) * stride_ + 1, x);
}

int LifeAutomaton::age(std::int64_t y, std::int64_t x) const {
    int value = 0;
    for (int plane = 0; plane < planes; ++plane)
        value |= int(bit(ages_.data() + (y * planes + plane) * words_, x)) << plane;
    return value;
}

void paint_life(const LifeAutomaton& automaton, std::int64_t cell, double fade,
                const Palette& palette, const Surface& surface, ThreadPool& pool) {
    require(cell > 0, "a cell must have at least one pixel, not ", cell);
    require(fade > 0, "fade must be above 0");
    require(palette.size() >= 2 && palette.size() <= 65536, "2 to 65536 colours are needed");
    const std::int64_t cells = cells_of(surface.width, cell);
    const std::int64_t rows = cells_of(surface.height, cell);
    require(cells == automaton.width() && rows == automaton.height(),
            "the automaton does not fit the surface");
    const IndexPainter painter(palette, surface);
    // Place in the palette by state and age; ages are told apart on a logarithmic scale.
    std::vector<std::uint16_t> places(512);
    const double last = static_cast<double>(palette.size() - 1);
    for (int age = 0; age < 256; ++age) {
        const double t = std::min(1.0, std::log1p(age) / std::log1p(fade));
        const auto at = static_cast<std::size_t>(age);
        places[at] =
            static_cast<std::uint16_t>(std::lround(age == 255 ? 0 : (1 - t) * 0.45 * last));
        places[256 + at] = static_cast<std::uint16_t>(std::lround((0.55 + 0.45 * t) * last));
    }
    pool.for_ranges(rows, 8, [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::uint16_t> indices(static_cast<std::size_t>(cells));
        std::vector<std::uint16_t> pixels(static_cast<std::size_t>(surface.width));
        for (std::int64_t i = begin; i < end; ++i) {
            for (std::int64_t x = 0; x < cells; ++x)
                indices[static_cast<std::size_t>(x)] = places[static_cast<std::size_t>(
                    256 * automaton.state(i, x) + automaton.age(i, x))];
            stretch(indices.data(), cell, surface.width, pixels.data());
            painter.write_row(pixels.data(), i * cell);
            for (std::int64_t y = i * cell + 1; y < std::min((i + 1) * cell, surface.height); ++y)
                painter.repeat_row(i * cell, y);
        }
    });
}

}  // namespace fastsynth
