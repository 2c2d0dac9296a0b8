// The interpolation points of Winograd's F(m×m, 3×3), shared by the transforms and the weights.
//
// F(m, 3) makes m outputs of a 3-tap filter from n = m + 2 inputs with n products instead of 3m:
// inputs d and filter g are read as polynomials, evaluated at n points (n - 1 numbers and
// "infinity", the leading coefficient), multiplied point by point, and taken back. With points p_i,
// in one dimension
//     y = Aᵀ [(G g) ⊙ (Bᵀ d)]
//     G  (n×3): row i = (1, p_i, p_i²) / Π_{j≠i} (p_i - p_j), last row (0, 0, 1)
//     Aᵀ (m×n): entry (k, i) = p_i^k, last column (0, …, 0, 1)
//     Bᵀ (n×n): row i = coefficients of Π_{j≠i} (x - p_j), last row those of Π_j (x - p_j)
// and in two dimensions the same for columns, then rows. (Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks", 2016.) The points decide the rounding error: for m = 4, ±11/16
// and ±3/2 give half the error of the usual ±1 and ±2 at the same cost; all their constants are
// exact in float32. For m = 6, ±1, ±2, ±1/2 are the best known.
#pragma once

namespace fastsynth {

template <int m>
struct WinogradPoints;

template <>
struct WinogradPoints<4> {
    static constexpr double a = 11.0 / 16.0, b = 1.5;
    static constexpr double points[] = {0.0, a, -a, b, -b};
};

template <>
struct WinogradPoints<6> {
    static constexpr double a = 1.0, b = 2.0, c = 0.5;
    static constexpr double points[] = {0.0, a, -a, b, -b, c, -c};
};

}  // namespace fastsynth
