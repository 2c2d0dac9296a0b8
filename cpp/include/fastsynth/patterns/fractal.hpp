// Escape-time fractals of z ← z² + c: the Mandelbrot set and Julia sets.
#pragma once

#include "fastsynth/patterns/field.hpp"

namespace fastsynth {

struct EscapeSettings {
    bool julia = false;
    double cx = 0, cy = 0;     // c of a Julia set
    int max_iterations = 500;  // points that have not escaped then count as inside
    double density = 1;        // how often the palette is run through as the iterations grow
    double offset = 0;         // where in the palette it begins
    double relief = 0;         // 0 … 1: light and shadow on the slopes of the potential
    Color inside;
};

class EscapeField final : public Field {
  public:
    EscapeField(const EscapeSettings& settings, Palette palette);
    void shade(const double* x, const double* y, std::size_t n, float* rgb) const override;

    /// The smooth numbers of iterations; -1 inside.
    void iterations(const double* x, const double* y, std::size_t n, double* out) const;

  private:
    EscapeSettings settings_;
    Palette palette_;
};

}  // namespace fastsynth
