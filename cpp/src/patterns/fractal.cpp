#include "fastsynth/patterns/fractal.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "fastsynth/common/error.hpp"
#include "patterns/field_kernels.hpp"

namespace fastsynth {
namespace {

EscapeRule rule_of(const EscapeSettings& settings, bool slope) {
    EscapeRule rule;
    rule.julia = settings.julia;
    rule.cx = settings.cx;
    rule.cy = settings.cy;
    rule.max_iterations = settings.max_iterations;
    rule.slope = slope;
    return rule;
}

}  // namespace

EscapeField::EscapeField(const EscapeSettings& settings, Palette palette)
    : settings_(settings), palette_(std::move(palette)) {
    require(settings.max_iterations >= 1, "at least one iteration is needed");
    require(std::isfinite(settings.cx) && std::isfinite(settings.cy), "c must be finite");
    require(std::isfinite(settings.density) && std::isfinite(settings.offset),
            "density and offset must be finite");
    require(settings.relief >= 0 && settings.relief <= 1, "relief must be 0 to 1");
}

void EscapeField::shade(const double* x, const double* y, std::size_t n, float* rgb) const {
    const bool slope = settings_.relief > 0;
    std::vector<double> counts(n), sx(slope ? n : 0), sy(slope ? n : 0);
    field_kernels().escape(rule_of(settings_, slope), x, y, n, counts.data(), sx.data(), sy.data());
    for (std::size_t i = 0; i < n; ++i) {
        Color color = settings_.inside;
        if (counts[i] >= 0) {
            // Bands of equal width in the logarithm: they do not crowd towards the set. There and
            // back, so that the palette has no seam.
            double place = settings_.offset +
                           settings_.density * 0.5 * std::log2(1 + std::max(0.0, counts[i]));
            place -= std::floor(place);
            color = palette_.at(1 - std::fabs(2 * place - 1));
            if (slope) {
                // Lambert's law, light from the upper left at 45° above the plane.
                const double light = (-sx[i] + sy[i]) * std::sqrt(0.5);
                const auto factor = static_cast<float>(1 + settings_.relief * (0.85 * light - 0.1));
                color = {color.r * factor, color.g * factor, color.b * factor};
            }
        }
        rgb[3 * i] = color.r;
        rgb[3 * i + 1] = color.g;
        rgb[3 * i + 2] = color.b;
    }
}

void EscapeField::iterations(const double* x, const double* y, std::size_t n, double* out) const {
    field_kernels().escape(rule_of(settings_, false), x, y, n, out, nullptr, nullptr);
}

}  // namespace fastsynth
