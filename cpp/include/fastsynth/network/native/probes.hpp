// Looks into the native kernels, for tests and benchmarks.
#pragma once

namespace fastsynth {

/// Bᵀ d B of one tile [m+2][m+2], as the kernels compute it. m is 4 or 6.
void probe_input_transform(int m, const float* tile, float* transformed);

/// Aᵀ s A of the sums [m+2][m+2]: [m][m] outputs.
void probe_output_transform(int m, const float* sums, float* outputs);

/// G g Gᵀ of a kernel [3][3]: [m+2][m+2].
void probe_kernel_transform(int m, const float* kernel, float* transformed);

/// Operations per second of independent fused multiply-adds in registers, on `threads` threads at
/// once, best of several measurements within `seconds`.
double probe_multiply_add_peak(int threads, double seconds);

}  // namespace fastsynth
