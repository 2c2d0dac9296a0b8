#include "fastsynth/network/tiles.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "fastsynth/common/error.hpp"

namespace fastsynth {
namespace {

int divide_up(int a, int b) { return (a + b - 1) / b; }

}  // namespace

TileAxis::TileAxis(int length, int stride, int halo, int inner)
    : length_(length), halo_(halo), size_(length) {
    require(length > 0 && stride > 0 && inner > 0 && halo >= 0,
            "a grid of tiles needs positive numbers, not ", length, ", ", stride, ", ", halo, ", ",
            inner);
    require(halo % stride == 0 && inner % stride == 0, "halo ", halo, " and tile ", inner,
            " must be multiples of the stride, ", stride);
    const int rest = length % stride;
    whole_ = length - rest;
    if (whole_ <= inner + 2 * halo) {
        step_ = length;
        return;
    }
    // As many tiles as needed, all alike: none is a narrow remainder.
    const int shared = whole_ - 2 * halo;
    step_ = divide_up(divide_up(shared, divide_up(shared, inner)), stride) * stride;
    count_ = divide_up(shared, step_);
    size_ = step_ + 2 * halo + rest;
}

int TileAxis::start(int tile) const { return std::min(tile * step_, length_ - size_); }

int TileAxis::boundary(int tile) const {
    if (tile == 0) return 0;
    return tile == count_ ? length_ : tile * step_ + halo_;
}

TileGrid::TileGrid(int height, int width, int stride, int halo, int inner)
    : image_height_(height),
      image_width_(width),
      rows_(height, stride, halo, inner),
      columns_(width, stride, halo, inner) {}

Area TileGrid::tile(int index) const {
    const int row = index / columns_.count(), column = index % columns_.count();
    return {rows_.start(row), columns_.start(column), rows_.size(), columns_.size()};
}

Area TileGrid::owned(int index, int stride) const {
    const int row = index / columns_.count(), column = index % columns_.count();
    const int top = rows_.boundary(row) / stride, left = columns_.boundary(column) / stride;
    return {top, left, rows_.boundary(row + 1) / stride - top,
            columns_.boundary(column + 1) / stride - left};
}

int TileSource::shows(int i, int size) const {
    int place = i - border;
    if (kind == Border::cyclic) {
        place %= size;
        return place < 0 ? place + size : place;
    }
    place %= 2 * size;
    if (place < 0) place += 2 * size;
    return place < size ? place : 2 * size - 1 - place;  // the border's pixels are repeated
}

void TileSource::read(const Area& area, float* to) const {
    std::vector<int> columns(static_cast<std::size_t>(area.width));
    for (int x = 0; x < area.width; ++x)
        columns[static_cast<std::size_t>(x)] = shows(area.left + x, width);
    for (int c = 0; c < 3; ++c)
        for (int y = 0; y < area.height; ++y) {
            const auto row = static_cast<std::size_t>(c) * height + shows(area.top + y, height);
            const float* from = data + row * static_cast<std::size_t>(width);
            for (int x : columns) *to++ = from[x];
        }
}

}  // namespace fastsynth
