// Iterated function systems, drawn by the chaos game (Barnsley 1988).
#pragma once

#include <cstdint>
#include <vector>

#include "fastsynth/patterns/surface.hpp"

namespace fastsynth {

/// (x, y) → (a x + b y + e, c x + d y + f), chosen with a chance that is proportional to `weight`.
struct AffineMap {
    double a = 0, b = 0, c = 0, d = 0, e = 0, f = 0;
    double weight = 1;
    double color = 0;  // in [0, 1]; a point's colour goes half way to it
};

struct Bounds {
    double left, bottom, right, top;
};

/// Where the attractor lies: of points of a chaos game, seeded. Throws std::invalid_argument when
/// the points run away.
Bounds attractor_extent(const std::vector<AffineMap>& maps, std::uint64_t seed);

struct ChaosSettings {
    std::uint64_t seed = 0;
    double samples = 16;  // mean number of points per pixel
    double gamma = 1;     // above 1 brings out faint parts
    Color background;
};

/// `samples` points per pixel of the surface (at most 2^28) fall into pixels; brightness is the
/// logarithm of the density, colour the mean of the points' colours through the palette. The view:
/// pixel (i, j) covers x = left + i·size, y = top - j·size. The points are cut into fixed tasks
/// with random streams of their own, and whole numbers are added: the same for any threads.
void paint_attractor(const std::vector<AffineMap>& maps, double left, double top, double size,
                     const ChaosSettings& settings, const Palette& palette, const Surface& surface,
                     ThreadPool& pool);

}  // namespace fastsynth
