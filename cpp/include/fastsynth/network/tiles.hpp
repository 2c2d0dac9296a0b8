// TileGrid: how an image is cut so that a network sees it tile by tile and nothing is lost.
//
// All tiles have one size, so that one bound network serves them. They start at multiples of the
// network's total pooling stride, so that a tile pools the same pixels together as the whole image
// does. Neighbours overlap by two halos. The positions of each layer belong to one tile each: to
// the one that sees at least `halo` pixels around them, or the image's own border. With a halo no
// less than the reach of the deepest tap, these features are those of the whole image:
//
//     |--------------- tile 0 ---------------|
//                          |--------------- tile 1 ---------------|
//     |------- owned by 0 -------|-------- owned by 1 -----| …
//     0                        start 1   = boundary - halo          boundary: a multiple of stride
//
// A tile at the image's border ends there, so that its zero padding is the image's own. Sides that
// are no multiple of the stride: every tile has the remainder in addition, which only the last one
// needs; so the last one, too, starts at a multiple of the stride.
#pragma once

#include "fastsynth/network/network.hpp"

namespace fastsynth {

/// One side of the grid.
class TileAxis {
  public:
    TileAxis() = default;
    /// length: of the image's side; stride, halo, inner: pixels, the last two multiples of stride.
    /// `inner` is what a tile between others owns, at most.
    TileAxis(int length, int stride, int halo, int inner);

    int count() const { return count_; }
    int size() const { return size_; }  // of a tile
    int start(int tile) const;
    /// First pixel that a tile owns; that of tile `count()` is the length.
    int boundary(int tile) const;

  private:
    int length_ = 0, halo_ = 0, step_ = 0, count_ = 1, size_ = 0, whole_ = 0;
};

/// A rectangle of rows and columns.
struct Area {
    int top, left, height, width;
};

class TileGrid {
  public:
    TileGrid() = default;
    TileGrid(int height, int width, int stride, int halo, int inner);

    int count() const { return rows_.count() * columns_.count(); }
    int height() const { return rows_.size(); }  // of a tile
    int width() const { return columns_.size(); }
    const TileAxis& rows() const { return rows_; }
    const TileAxis& columns() const { return columns_; }
    int image_height() const { return image_height_; }
    int image_width() const { return image_width_; }

    /// The tile's pixels.
    Area tile(int index) const;
    /// What a tile owns of a layer with `stride` pixels between positions, in positions of the
    /// whole layer.
    Area owned(int index, int stride) const;

  private:
    int image_height_ = 0, image_width_ = 0;
    TileAxis rows_, columns_;
};

/// An image, and how it goes on beyond its border.
struct TileSource {
    enum class Border { cyclic, reflected };

    const float* data;  // planar RGB (3, height, width)
    int height, width;
    int border;  // pixels added on each side
    Border kind;

    /// Row or column of the image that place `i` of the continued one shows.
    int shows(int i, int size) const;
    /// Copies an area of the continued image to planar (3, area.height, area.width).
    void read(const Area& area, float* to) const;
};

}  // namespace fastsynth
