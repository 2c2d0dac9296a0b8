// Arithmetic on flat vectors of floats: what losses and optimisers are made of.
//
// Precision: every sum that is returned as a double is summed in float64, from products that are
// exact in float64. Determinism: the functions that take a pool cut vectors into fixed ranges and
// add the parts in order, so that a result does not depend on the number of threads. Different
// kernel sets may round a sum differently (about 1e-16 relative).
#pragma once

#include <cstddef>

#include "fastsynth/common/parallel.hpp"

namespace fastsynth {

/// The family of kernels; single-threaded, any alignment, any n, also 0. Input and output overlap
/// only where one is the other.
struct VectorKernels {
    double (*dot)(const float* x, const float* y, std::size_t n);          // Σ x y
    double (*sum)(const float* x, std::size_t n);                          // Σ x
    double (*norm1)(const float* x, std::size_t n);                        // Σ |x|
    double (*difference2)(const float* x, const float* y, std::size_t n);  // Σ (x-y)²
    /// The largest |x|; 0 for n = 0, not a number if any x is. So std::isfinite(max_abs(x)) says
    /// whether all values are finite.
    float (*max_abs)(const float* x, std::size_t n);
    void (*axpy)(float a, const float* x, float* y, std::size_t n);            // y ← y + a x
    void (*axpby)(float a, const float* x, float b, float* y, std::size_t n);  // y ← a x + b y
    void (*scale)(float a, float* x, std::size_t n);                           // x ← a x
    /// y ← a (x - t), or y ← y + a (x - t); returns Σ (x-t)²: value and gradient of a squared
    /// distance in one pass.
    double (*scaled_difference)(double a, const float* x, const float* t, float* y, std::size_t n,
                                bool add);
};

/// The kernels of the instruction set in use.
const VectorKernels& vector_kernels();

// The same on all threads of a pool.
double dot(const float* x, const float* y, std::size_t n, ThreadPool& pool);
double norm1(const float* x, std::size_t n, ThreadPool& pool);
double difference2(const float* x, const float* y, std::size_t n, ThreadPool& pool);
float max_abs(const float* x, std::size_t n, ThreadPool& pool);
bool is_finite(const float* x, std::size_t n, ThreadPool& pool);
void axpy(float a, const float* x, float* y, std::size_t n, ThreadPool& pool);
void axpby(float a, const float* x, float b, float* y, std::size_t n, ThreadPool& pool);
double scaled_difference(double a, const float* x, const float* t, float* y, std::size_t n,
                         bool add, ThreadPool& pool);

}  // namespace fastsynth
