#include "fastsynth/patterns/field.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "fastsynth/common/error.hpp"

namespace fastsynth {
namespace {

// Linear light that differs by less than this (about one 8-bit step in the middle tones) from all
// neighbours needs no more samples.
constexpr float threshold = 0.012f;
constexpr std::int64_t band_rows = 16;
constexpr std::size_t batch = 1024;  // points that are shaded at once

class Painter {
  public:
    Painter(const Field& field, const View& view, const Surface& surface)
        : field_(field),
          view_(view),
          surface_(surface),
          cos_(std::cos(view.angle) * view.scale),
          sin_(std::sin(view.angle) * view.scale) {}

    void paint(std::int64_t top, std::int64_t bottom, bool antialias) const {
        const std::int64_t width = surface_.width;
        // With a row above and below, for the comparison: the same colours as the next band has.
        const std::int64_t first = antialias ? std::max<std::int64_t>(0, top - 1) : top;
        const std::int64_t end = antialias ? std::min(surface_.height, bottom + 1) : bottom;
        std::vector<float> colors(static_cast<std::size_t>((end - first) * width * 3));
        Batch points(*this);
        for (std::int64_t j = first; j < end; ++j)
            for (std::int64_t i = 0; i < width; i += batch)
                points.row(i, j, std::min<std::int64_t>(batch, width - i),
                           colors.data() + ((j - first) * width + i) * 3);
        std::vector<float> refined;
        for (std::int64_t j = top; j < bottom; ++j) {
            const float* row = colors.data() + (j - first) * width * 3;
            if (antialias) {
                refined.assign(row, row + width * 3);
                refine(row, j, j > first, j + 1 < end, points, refined.data());
                row = refined.data();
            }
            encode_row(row, width, surface_, 0, j);
        }
    }

  private:
    /// Points that are shaded together.
    struct Batch {
        explicit Batch(const Painter& owner) : painter(owner), x(batch), y(batch), rgb(3 * batch) {}

        void add(double i, double j) {
            const double u = i - 0.5 * static_cast<double>(painter.surface_.width);
            const double v = 0.5 * static_cast<double>(painter.surface_.height) - j;
            x[count] = painter.view_.center_x + painter.cos_ * u - painter.sin_ * v;
            y[count] = painter.view_.center_y + painter.sin_ * u + painter.cos_ * v;
            ++count;
        }

        void row(std::int64_t i, std::int64_t j, std::int64_t n, float* out) {
            count = 0;
            for (std::int64_t k = 0; k < n; ++k)
                add(static_cast<double>(i + k) + 0.5, static_cast<double>(j) + 0.5);
            painter.field_.shade(x.data(), y.data(), count, out);
            count = 0;
        }

        const Painter& painter;
        std::vector<double> x, y;
        std::vector<float> rgb;
        std::size_t count = 0;
    };

    static bool differs(const float* a, const float* b) {
        return std::fabs(a[0] - b[0]) > threshold || std::fabs(a[1] - b[1]) > threshold ||
               std::fabs(a[2] - b[2]) > threshold;
    }

    void refine(const float* row, std::int64_t j, bool above, bool below, Batch& points,
                float* out) const {
        const std::int64_t width = surface_.width;
        constexpr std::size_t around = 8;  // of 3 × 3 samples the middle is there already
        std::vector<std::int64_t> pixels;
        const auto flush = [&] {
            field_.shade(points.x.data(), points.y.data(), points.count, points.rgb.data());
            for (std::size_t p = 0; p < pixels.size(); ++p)
                for (std::size_t c = 0; c < 3; ++c) {
                    const std::size_t place = static_cast<std::size_t>(pixels[p]) * 3 + c;
                    float sum = row[place];
                    for (std::size_t k = 0; k < around; ++k)
                        sum += points.rgb[(p * around + k) * 3 + c];
                    out[place] = sum / 9;
                }
            points.count = 0;
            pixels.clear();
        };
        for (std::int64_t i = 0; i < width; ++i) {
            const float* here = row + 3 * i;
            const bool edge = (i > 0 && differs(here, here - 3)) ||
                              (i + 1 < width && differs(here, here + 3)) ||
                              (above && differs(here, here - 3 * width)) ||
                              (below && differs(here, here + 3 * width));
            if (!edge) continue;
            for (int k = 0; k < 9; ++k)
                if (k != 4)
                    points.add(static_cast<double>(i) + (k % 3 + 0.5) / 3,
                               static_cast<double>(j) + (k / 3 + 0.5) / 3);
            pixels.push_back(i);
            if (points.count + around > batch) flush();
        }
        if (!pixels.empty()) flush();
    }

    const Field& field_;
    View view_;
    Surface surface_;
    double cos_, sin_;
};

}  // namespace

void paint_field(const Field& field, const View& view, bool antialias, const Surface& surface,
                 ThreadPool& pool) {
    require(std::isfinite(view.center_x) && std::isfinite(view.center_y) &&
                std::isfinite(view.scale) && view.scale > 0 && std::isfinite(view.angle),
            "the view must be finite, its scale above 0");
    const Painter painter(field, view, surface);
    pool.for_ranges(surface.height, band_rows, [&](std::int64_t begin, std::int64_t end) {
        painter.paint(begin, end, antialias);
    });
}

}  // namespace fastsynth
