#include "fastsynth/patterns/raster.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>

#include "fastsynth/common/error.hpp"

namespace fastsynth {
namespace {

constexpr std::int64_t band_rows = 32;
constexpr float far_away = 1e7f;  // pixels; beyond, float32 has no fractions

float clamp01(float x) { return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x; }
float smooth(float x) {
    const float t = clamp01(x);
    return t * t * (3.0f - 2.0f * t);
}
Color scaled(Color c, float k) { return {c.r * k, c.g * k, c.b * k}; }

/// Half width of a leaf along its axis, as a share of the largest: u^p (1-u)^q with its top at the
/// belly, tabulated.
struct Profile {
    static constexpr int steps = 128;
    std::array<float, steps + 2> width;

    Profile(float belly, float sharpness) {
        const double p = 2.0 * sharpness * belly, q = 2.0 * sharpness * (1 - belly);
        const double top = std::pow(belly, p) * std::pow(1 - belly, q);
        for (int i = 0; i <= steps; ++i) {
            const double u = static_cast<double>(i) / steps;
            width[static_cast<std::size_t>(i)] =
                static_cast<float>(std::pow(u, p) * std::pow(1 - u, q) / top);
        }
        width[0] = width[steps] = width[steps + 1] = 0;
    }

    /// Width and its slope at u in [0, 1].
    float at(float u, float& slope) const {
        const float place = u * steps;
        const auto i = static_cast<std::size_t>(place);
        slope = (width[i + 1] - width[i]) * steps;
        return width[i] + (width[i + 1] - width[i]) * (place - static_cast<float>(i));
    }
};

struct Box {
    float left, top, right, bottom;
};

Box box_of(const Shape& s, const std::vector<float>& vertices) {
    switch (s.kind) {
        case ShapeKind::line: {
            const float r = std::max({s.a, s.b, 0.5f}) + 1.0f;
            return {std::min(s.x, s.u) - r, std::min(s.y, s.v) - r, std::max(s.x, s.u) + r,
                    std::max(s.y, s.v) + r};
        }
        case ShapeKind::ellipse: {
            const float w = std::sqrt(s.a * s.a * s.u * s.u + s.b * s.b * s.v * s.v) + 1.5f;
            const float h = std::sqrt(s.a * s.a * s.v * s.v + s.b * s.b * s.u * s.u) + 1.5f;
            return {s.x - w, s.y - h, s.x + w, s.y + h};
        }
        case ShapeKind::leaf: {
            // The axis is a parabola of height `bend` over the chord; the width is across it.
            const float across = s.b + std::fabs(s.bend) * s.a + s.soft + 2.0f;
            const float w = std::fabs(s.v) * across + 2.0f, h = std::fabs(s.u) * across + 2.0f;
            const float tx = s.x + s.u * s.a, ty = s.y + s.v * s.a;
            return {std::min(s.x, tx) - w - s.soft, std::min(s.y, ty) - h - s.soft,
                    std::max(s.x, tx) + w + s.soft, std::max(s.y, ty) + h + s.soft};
        }
        default: {
            Box box{far_away, far_away, -far_away, -far_away};
            for (std::int32_t i = 0; i < s.count; ++i) {
                const float x = vertices[2 * static_cast<std::size_t>(s.first + i)];
                const float y = vertices[2 * static_cast<std::size_t>(s.first + i) + 1];
                box = {std::min(box.left, x), std::min(box.top, y), std::max(box.right, x),
                       std::max(box.bottom, y)};
            }
            return {box.left - 1, box.top - 1, box.right + 1, box.bottom + 1};
        }
    }
}

/// Rows [top, bottom) of the picture in linear light, and the shapes drawn into them.
class Band {
  public:
    Band(std::int64_t top, std::int64_t bottom, std::int64_t width, bool antialias)
        : top_(top),
          rows_(bottom - top),
          width_(width),
          antialias_(antialias),
          pixels_(static_cast<std::size_t>(rows_ * width * 3)) {}

    void fill(const Background& background, std::int64_t height) {
        const float cx = 0.5f * static_cast<float>(width_), cy = 0.5f * static_cast<float>(height);
        const float reach = 1.0f / (cx * cx + cy * cy);
        for (std::int64_t j = 0; j < rows_; ++j) {
            const float dy = static_cast<float>(top_ + j) + 0.5f - cy;
            float* out = pixels_.data() + j * width_ * 3;
            for (std::int64_t i = 0; i < width_; ++i) {
                const float dx = static_cast<float>(i) + 0.5f - cx;
                const Color c =
                    mix(background.middle, background.corner, smooth((dx * dx + dy * dy) * reach));
                out[3 * i] = c.r;
                out[3 * i + 1] = c.g;
                out[3 * i + 2] = c.b;
            }
        }
    }

    void draw(const Shape& s, const Box& box, const Profile* profile,
              const std::vector<float>& vertices) {
        if (s.group != group_) flush();
        group_ = s.group;
        switch (s.kind) {
            case ShapeKind::line:
                return line(s, box);
            case ShapeKind::ellipse:
                return ellipse(s, box);
            case ShapeKind::leaf:
                return leaf(s, box, *profile);
            case ShapeKind::polygon:
                return polygon(s, box, vertices);
        }
    }

    /// Blends what the last group has gathered.
    void flush() {
        if (dirty_.empty()) {
            group_ = -1;
            return;
        }
        for (std::size_t j = 0; j < dirty_.size(); ++j) {
            auto& [from, to] = dirty_[j];
            for (std::int64_t i = from; i < to; ++i) {
                float* cell = mask_.data() + (static_cast<std::int64_t>(j) * width_ + i) * 4;
                if (cell[0] > 0)
                    over(static_cast<std::int64_t>(j), i, cell[0], {cell[1], cell[2], cell[3]});
                cell[0] = 0;
            }
            from = width_;
            to = 0;
        }
        group_ = -1;
    }

    void write(const Surface& surface) const {
        for (std::int64_t j = 0; j < rows_; ++j)
            encode_row(pixels_.data() + j * width_ * 3, width_, surface, 0, top_ + j);
    }

  private:
    void over(std::int64_t j, std::int64_t i, float alpha, Color c) {
        float* p = pixels_.data() + (j * width_ + i) * 3;
        p[0] += (c.r - p[0]) * alpha;
        p[1] += (c.g - p[1]) * alpha;
        p[2] += (c.b - p[2]) * alpha;
    }

    void put(const Shape& s, std::int64_t j, std::int64_t i, float cover, Color c) {
        if (!antialias_ && s.soft == 0) cover = cover >= 0.5f ? 1.0f : 0.0f;
        const float alpha = cover * s.alpha;
        if (alpha <= 0) return;
        if (s.group < 0) return over(j, i, alpha, c);
        if (mask_.empty()) {
            mask_.assign(static_cast<std::size_t>(rows_ * width_ * 4), 0.0f);
            dirty_.assign(static_cast<std::size_t>(rows_), {width_, 0});
        }
        float* cell = mask_.data() + (j * width_ + i) * 4;
        if (alpha < cell[0]) return;
        cell[0] = alpha;
        cell[1] = c.r;
        cell[2] = c.g;
        cell[3] = c.b;
        auto& [from, to] = dirty_[static_cast<std::size_t>(j)];
        from = std::min(from, i);
        to = std::max(to, i + 1);
    }

    /// Columns of a box that lie in the picture, and its rows that lie in the band.
    std::pair<std::int64_t, std::int64_t> columns(float left, float right) const {
        const auto w = static_cast<float>(width_);
        return {static_cast<std::int64_t>(std::clamp(std::floor(left), 0.0f, w)),
                static_cast<std::int64_t>(std::clamp(std::ceil(right), 0.0f, w))};
    }
    std::pair<std::int64_t, std::int64_t> rows(const Box& box) const {
        const auto t = static_cast<float>(top_), h = static_cast<float>(rows_);
        return {static_cast<std::int64_t>(std::clamp(std::floor(box.top) - t, 0.0f, h)),
                static_cast<std::int64_t>(std::clamp(std::ceil(box.bottom) - t, 0.0f, h))};
    }

    void line(const Shape& s, const Box& box) {
        const float dx = s.u - s.x, dy = s.v - s.y;
        const float square = dx * dx + dy * dy;
        const float inverse = square > 0 ? 1.0f / square : 0.0f;
        const float widest = std::max({s.a, s.b, 0.5f}) + 1.0f;
        const float reach =
            std::fabs(dy) > 1e-6f ? widest * std::sqrt(square) / std::fabs(dy) : 2 * far_away;
        const auto [top, bottom] = rows(box);
        for (std::int64_t j = top; j < bottom; ++j) {
            const float py = static_cast<float>(top_ + j) + 0.5f - s.y;
            float left = box.left, right = box.right;
            if (reach < far_away) {  // only what is near the line on this row
                const float middle = s.x + py * dx / dy;
                left = std::max(left, middle - reach - 1);
                right = std::min(right, middle + reach + 1);
            }
            const auto [begin, end] = columns(left, right);
            for (std::int64_t i = begin; i < end; ++i) {
                const float px = static_cast<float>(i) + 0.5f - s.x;
                const float t = clamp01((px * dx + py * dy) * inverse);
                const float ex = px - t * dx, ey = py - t * dy;
                const float radius = s.a + (s.b - s.a) * t;
                const float shown = std::max(radius, 0.5f);
                const float inside = shown - std::sqrt(ex * ex + ey * ey) + 0.5f;
                if (inside <= 0) continue;
                put(s, j, i, clamp01(inside) * (radius / shown), mix(s.near, s.far, t));
            }
        }
    }

    void ellipse(const Shape& s, const Box& box) {
        const float ra = std::max(s.a, 0.5f), rb = std::max(s.b, 0.5f);
        const float faint = s.a * s.b / (ra * rb);
        const auto [top, bottom] = rows(box);
        const auto [begin, end] = columns(box.left, box.right);
        for (std::int64_t j = top; j < bottom; ++j) {
            const float py = static_cast<float>(top_ + j) + 0.5f - s.y;
            for (std::int64_t i = begin; i < end; ++i) {
                const float px = static_cast<float>(i) + 0.5f - s.x;
                const float p = (px * s.u + py * s.v) / ra, q = (py * s.u - px * s.v) / rb;
                const float k = std::sqrt(p * p + q * q);
                float cover;
                if (s.soft > 0) {
                    cover = smooth((1.0f - k) / s.soft);
                } else {
                    // Distance to the rim: (1 - k) over the length of k's gradient.
                    const float gp = p / ra, gq = q / rb;
                    const float slope = std::sqrt(gp * gp + gq * gq);
                    cover = slope > 0 ? clamp01((1.0f - k) * k / slope + 0.5f) : 1.0f;
                }
                if (cover <= 0) continue;
                Color c = mix(s.near, s.far, clamp01(k * k));
                if (s.light > 0 || s.shine > 0) {
                    const float depth = std::sqrt(std::max(0.0f, 1.0f - k * k));
                    const float nx = p * s.u - q * s.v, ny = p * s.v + q * s.u;
                    // Light from the upper left, 50° above the picture.
                    const float lit = -0.45f * nx - 0.45f * ny + 0.77f * depth;
                    c = scaled(c, 1.0f + s.light * (1.15f * std::max(lit, -0.2f) - 0.75f));
                    const float glint = std::max(0.0f, -0.26f * nx - 0.26f * ny + 0.93f * depth);
                    const float g2 = glint * glint, g4 = g2 * g2, g8 = g4 * g4, g16 = g8 * g8;
                    const float spark = s.shine * g16 * g16;
                    c = {c.r + spark, c.g + spark, c.b + spark};
                }
                put(s, j, i, cover * faint, c);
            }
        }
    }

    void leaf(const Shape& s, const Box& box, const Profile& profile) {
        const float inverse = 1.0f / std::max(s.a, 1e-6f);
        const auto [top, bottom] = rows(box);
        const auto [begin, end] = columns(box.left, box.right);
        const float edge = std::max(s.soft, 1.0f);
        for (std::int64_t j = top; j < bottom; ++j) {
            const float py = static_cast<float>(top_ + j) + 0.5f - s.y;
            for (std::int64_t i = begin; i < end; ++i) {
                const float px = static_cast<float>(i) + 0.5f - s.x;
                const float along = (px * s.u + py * s.v) * inverse;
                if (along <= 0 || along >= 1) continue;
                const float across =
                    (py * s.u - px * s.v) - 4.0f * s.bend * s.a * along * (1.0f - along);
                float slope;
                const float half = s.b * profile.at(along, slope);
                const float steep = s.b * slope * inverse;
                const float inside =
                    (half - std::fabs(across)) / std::sqrt(1.0f + std::min(steep * steep, 9.0f));
                const float cover = s.soft > 0
                                        ? smooth(inside / edge + 0.5f)
                                        : clamp01(inside + 0.5f) * clamp01(2.0f * half + 0.25f);
                if (cover <= 0) continue;
                Color c = mix(s.near, s.far, smooth(along * 1.05f));
                if (s.soft == 0) c = scaled(c, leaf_light(s, along, across, half));
                put(s, j, i, cover, c);
            }
        }
    }

    /// Light on a leaf: folded along its middle, curved upwards at the rim, with veins.
    static float leaf_light(const Shape& s, float along, float across, float half) {
        const float place = half > 0 ? std::clamp(across / half, -1.0f, 1.0f) : 0.0f;
        const float away = std::fabs(place);
        // Side of the fold: its normal leans along ±(-v, u) on the picture.
        const float lean = s.fold * (place > 0 ? 1.0f : -1.0f) * (1.0f - 0.55f * away);
        const float lit = 0.45f * lean * (s.v - s.u);
        const float crease = s.fold * 0.55f * std::exp(-away * away * 60.0f);
        const float rim = 0.10f * away * away;
        float veins = 0;
        if (s.veins > 0)
            veins = 0.07f * std::cos(3.14159265f * s.veins * place) * smooth(4 * along) *
                    smooth(4 * (1 - along)) * (1.0f - 0.5f * away);
        const float base = s.light * (1.0f - smooth(along / 0.45f));
        return std::max(0.05f, (1.0f + lit - crease + rim + veins) * (1.0f - base));
    }

    /// Areas by the sum of trapezoids: each edge adds, to the pixels that it crosses, the area to
    /// its right; what lies between edges follows by summing along the row.
    void polygon(const Shape& s, const Box& box, const std::vector<float>& vertices) {
        const auto [top, bottom] = rows(box);
        const auto [begin, end] = columns(box.left, box.right);
        if (top >= bottom || begin >= end) return;
        const std::int64_t span = end - begin + 2;
        area_.assign(static_cast<std::size_t>((bottom - top) * span), 0.0f);
        // (Structured bindings are captured by name only: C++17 does not let lambdas see them.)
        const auto vertex = [&, left = begin, up = top](std::int32_t i) {
            const std::size_t at = 2 * static_cast<std::size_t>(s.first + i % s.count);
            return std::pair<float, float>(vertices[at] - static_cast<float>(left),
                                           vertices[at + 1] - static_cast<float>(top_ + up));
        };
        const auto limit = static_cast<float>(end - begin);
        for (std::int32_t i = 0; i < s.count; ++i) {
            auto [x0, y0] = vertex(i);
            auto [x1, y1] = vertex(i + 1);
            if (y0 == y1) continue;
            const float sign = y0 < y1 ? 1.0f : -1.0f;
            if (y0 > y1) {
                std::swap(x0, x1);
                std::swap(y0, y1);
            }
            const float slope = (x1 - x0) / (y1 - y0);
            const float low = std::max(y0, 0.0f);
            const float high = std::min(y1, static_cast<float>(bottom - top));
            for (std::int64_t j = static_cast<std::int64_t>(low); static_cast<float>(j) < high;
                 ++j) {
                const float ya = std::max(low, static_cast<float>(j));
                const float yb = std::min(high, static_cast<float>(j + 1));
                if (yb <= ya) continue;
                edge(area_.data() + j * span, x0 + (ya - y0) * slope, x0 + (yb - y0) * slope,
                     sign * (yb - ya), limit);
            }
        }
        for (std::int64_t j = 0; j < bottom - top; ++j) {
            float sum = 0;
            for (std::int64_t i = 0; i < end - begin; ++i) {
                sum += area_[static_cast<std::size_t>(j * span + i)];
                const float cover = std::min(1.0f, std::fabs(sum));
                if (cover > 1e-4f) put(s, top + j, begin + i, cover, s.near);
            }
        }
    }

    /// A piece of an edge within one row, from column xa to xb, of signed height `height`.
    static void edge(float* row, float xa, float xb, float height, float limit) {
        float left = std::clamp(std::min(xa, xb), 0.0f, limit);
        const float right = std::clamp(std::max(xa, xb), 0.0f, limit);
        const float whole = right - left;
        if (whole <= 1e-6f) {
            const auto i = static_cast<std::int64_t>(left);
            const float part = left - static_cast<float>(i);
            row[i] += height * (1.0f - part);
            row[i + 1] += height * part;
            return;
        }
        while (left < right) {
            const auto i = static_cast<std::int64_t>(left);
            const float next = std::min(right, static_cast<float>(i + 1));
            const float share = height * (next - left) / whole;
            const float middle = 0.5f * (left + next) - static_cast<float>(i);
            row[i] += share * (1.0f - middle);
            row[i + 1] += share * middle;
            if (next <= left) break;
            left = next;
        }
    }

    std::int64_t top_, rows_, width_;
    bool antialias_;
    std::int32_t group_ = -1;
    std::vector<float> pixels_, mask_, area_;
    std::vector<std::pair<std::int64_t, std::int64_t>> dirty_;
};

void check(const Shape& s, const std::vector<float>& vertices) {
    for (float value : {s.x, s.y, s.u, s.v, s.a, s.b, s.bend, s.soft})
        require(std::isfinite(value) && std::fabs(value) < far_away, "a shape has the coordinate ",
                value, "; expected less than ", far_away, " pixels");
    require(s.a >= 0 && s.b >= 0, "a shape has a negative radius");
    if (s.kind == ShapeKind::leaf)
        require(s.belly > 0 && s.belly < 1 && s.sharpness > 0 && s.sharpness <= 8,
                "a leaf needs 0 < belly < 1 and 0 < sharpness ≤ 8");
    if (s.kind != ShapeKind::polygon) return;
    require(s.count >= 3 && s.first >= 0 &&
                2 * (static_cast<std::size_t>(s.first) + static_cast<std::size_t>(s.count)) <=
                    vertices.size(),
            "a polygon has vertices that are not there");
}

}  // namespace

void draw_shapes(const std::vector<Shape>& shapes, const std::vector<float>& vertices,
                 const Background& background, bool antialias, const Surface& surface,
                 ThreadPool& pool) {
    for (float value : vertices)
        require(std::isfinite(value) && std::fabs(value) < far_away, "a vertex is at ", value);
    const std::int64_t bands = (surface.height + band_rows - 1) / band_rows;
    std::vector<Box> boxes;
    boxes.reserve(shapes.size());
    std::vector<std::unique_ptr<Profile>> profiles(shapes.size());
    std::vector<std::vector<std::uint32_t>> bins(static_cast<std::size_t>(bands));
    for (std::size_t k = 0; k < shapes.size(); ++k) {
        const Shape& s = shapes[k];
        check(s, vertices);
        boxes.push_back(box_of(s, vertices));
        const Box& box = boxes.back();
        if (box.right <= 0 || box.left >= static_cast<float>(surface.width) || box.bottom <= 0 ||
            box.top >= static_cast<float>(surface.height))
            continue;
        if (s.kind == ShapeKind::leaf)
            profiles[k] = std::make_unique<Profile>(s.belly, s.sharpness);
        const auto first =
            std::max<std::int64_t>(0, static_cast<std::int64_t>(std::floor(box.top)) / band_rows);
        const auto last = std::min<std::int64_t>(
            bands - 1, static_cast<std::int64_t>(std::ceil(box.bottom)) / band_rows);
        for (std::int64_t b = first; b <= last; ++b)
            bins[static_cast<std::size_t>(b)].push_back(static_cast<std::uint32_t>(k));
    }
    pool.run(bands, [&](std::int64_t b, int) {
        const std::int64_t top = b * band_rows;
        Band band(top, std::min(top + band_rows, surface.height), surface.width, antialias);
        band.fill(background, surface.height);
        for (std::uint32_t k : bins[static_cast<std::size_t>(b)])
            band.draw(shapes[k], boxes[k], profiles[k].get(), vertices);
        band.flush();
        band.write(surface);
    });
}

}  // namespace fastsynth
