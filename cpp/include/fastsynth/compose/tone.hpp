// Colour and intensity, pixel by pixel: tables for integers, curves for floats, a colour matrix.
#pragma once

#include <cstddef>

#include "fastsynth/common/parallel.hpp"
#include "fastsynth/compose/samples.hpp"

namespace fastsynth {

/// out ← tables[channel][sample], for interleaved samples of uint8 or uint16. A table has an entry
/// for each value that a sample can have; alpha has a table too.
template <class T>
void look_up(const T* image, int channels, std::size_t pixels, const T* tables, T* out,
             ThreadPool& pool);

/// out ← the curve of each sample of an interleaved float image in [0, 1]. Alpha stays.
void tone_curve(const compose::ToneCurve& curve, const float* image, int channels,
                std::size_t pixels, float* out, ThreadPool& pool);

/// out ← M (r, g, b, 1) for each pixel, with M 3 × 4 in row order, its last column in units of
/// white. Cut to [0, 1] or the range of integers, which are rounded to the nearest. Alpha stays.
template <class T>
void color_matrix(const double matrix[12], const T* image, int channels, std::size_t pixels, T* out,
                  ThreadPool& pool);

}  // namespace fastsynth
