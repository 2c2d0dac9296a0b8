// The arithmetic of the optimisers that common/vector.hpp does not have: passes that fuse what
// would otherwise read a whole vector twice. Vectors have 1 to 50 million float32; a pass is bound
// by memory, so the number of vectors that it reads and writes is what it costs.
//
// Precision and determinism as in common/vector.hpp: sums in float64 over fixed ranges, added in
// order, so that no result depends on the number of threads.
#pragma once

#include <cstddef>

#include "fastsynth/common/parallel.hpp"

namespace fastsynth {

/// Σ s², Σ s y, Σ y² of one pair of L-BFGS.
struct PairSums {
    double ss = 0.0, sy = 0.0, yy = 0.0;
};

/// Coefficients of one Adam update, bias corrections included.
struct AdamStep {
    float beta1, beta2;
    float rate;       // learning rate / (1 - β1^t)
    float inverse_c;  // 1 / (1 - β2^t)
    float epsilon;
};

struct OptimizerKernels {
    /// out ← a u + b v; returns Σ out w. `out` may be u or v.
    double (*combine_dot)(float a, const float* u, float b, const float* v, const float* w,
                          float* out, std::size_t n);
    /// out ← x + t d
    void (*move)(const float* x, float t, const float* d, float* out, std::size_t n);
    /// s ← x1 - x0, y ← g1 - g0, and their products.
    PairSums (*difference)(const float* x1, const float* x0, const float* g1, const float* g0,
                           float* s, float* y, std::size_t n);
    /// m ← β1 m + (1-β1) g,  v ← β2 v + (1-β2) g²,  x ← x - rate m / (√(v inverse_c) + ε)
    void (*adam)(const AdamStep& step, const float* g, float* m, float* v, float* x, std::size_t n);
};

/// The kernels of the instruction set in use.
const OptimizerKernels& optimizer_kernels();

// The same on all threads of a pool.
double combine_dot(float a, const float* u, float b, const float* v, const float* w, float* out,
                   std::size_t n, ThreadPool& pool);
void move(const float* x, float t, const float* d, float* out, std::size_t n, ThreadPool& pool);
PairSums difference(const float* x1, const float* x0, const float* g1, const float* g0, float* s,
                    float* y, std::size_t n, ThreadPool& pool);
void adam(const AdamStep& step, const float* g, float* m, float* v, float* x, std::size_t n,
          ThreadPool& pool);

}  // namespace fastsynth
