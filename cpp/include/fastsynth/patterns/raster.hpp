// Raster: shapes drawn one over the other with the share of each pixel that they cover.
//
// Lines, discs and leaves are drawn from their distance to the pixel's centre: cover = distance
// inside + ½, cut to [0, 1]. Polygons are drawn by the exact area that lies in the pixel. All
// blending is in linear light, in bands of rows that threads take in turn.
#pragma once

#include <cstdint>
#include <vector>

#include "fastsynth/patterns/surface.hpp"

namespace fastsynth {

enum class ShapeKind { line, ellipse, leaf, polygon };

/// Coordinates in pixels, y down, (0, 0) the upper left corner of the picture.
///
/// line: from (x, y) to (u, v) with round ends of radius `a` and `b`; first to second colour along
///     it. Thinner than a pixel: fainter instead.
/// ellipse: centre (x, y), direction (u, v) of the first axis, half axes a and b; first colour in
///     the middle, second at the rim. soft: the share of the radius over which it fades. light:
///     how much it looks like a ball that is lit from the upper left; shine: strength of its
///     highlight.
/// leaf: base (x, y), direction (u, v), length a, half width b; see LeafForm. First colour at the
///     base, second at the tip.
/// polygon: `count` vertices from `first` in the list of vertices; first colour.
///
/// Neighbours in the list with the same group ≥ 0 are blended as one shape: where they overlap, the
/// cover is the largest of theirs, the colour that of the last with the largest cover.
struct Shape {
    ShapeKind kind = ShapeKind::line;
    std::int32_t group = -1;
    float x = 0, y = 0, u = 0, v = 0, a = 0, b = 0;
    Color near, far;
    float alpha = 1;
    float soft = 0;
    float light = 0, shine = 0;
    // leaf: place of the largest width (0 … 1), sharpness of both ends (½: round, 1: pointed),
    // sideways bend (share of the length), number of veins, depth of the fold along the middle.
    float belly = 0.5f, sharpness = 0.5f, bend = 0, veins = 0, fold = 0;
    std::int32_t first = 0, count = 0;
};

/// What is behind the shapes: from the first colour in the middle of the picture to the second in
/// its corners.
struct Background {
    Color middle, corner;
};

/// Draws shapes in their order. vertices: pairs (x, y). Not finite coordinates are refused.
void draw_shapes(const std::vector<Shape>& shapes, const std::vector<float>& vertices,
                 const Background& background, bool antialias, const Surface& surface,
                 ThreadPool& pool);

}  // namespace fastsynth
