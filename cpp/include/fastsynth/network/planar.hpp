// Pooling and ReLU masks on planar maps (C, H, W): what lies between the pieces of a network that
// another runtime computes, where one pass does the work of several of its operators.
//
// 2×2 pooling with stride 2 drops an odd last row or column. torch's rules hold on the way back:
// max pooling passes the gradient to the first of equal maxima (rows first), average pooling a
// quarter of it to all four, and the ReLU before the pooling only where the activation is positive.
// So a window's way back is four bits, one byte: bit i is set where pixel i (0 1 / 2 3) gets it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastsynth/common/parallel.hpp"
#include "fastsynth/network/network.hpp"

namespace fastsynth {

/// Kernels of one row of windows, single-threaded; `top` and `bottom` are rows of 2 · `windows`
/// values.
struct PlanarKernels {
    void (*pool)(const float* top, const float* bottom, std::size_t windows, bool average,
                 float* pooled, std::uint8_t* routes);
    /// Replaces top and bottom by, or unless `replace` adds to them, scale · pooled where routed.
    void (*unpool)(const float* pooled, const std::uint8_t* routes, std::size_t windows,
                   float scale, float* top, float* bottom, bool replace);
    /// gradient ← gradient where feature > 0, else 0.
    void (*mask)(const float* feature, float* gradient, std::size_t count);
};

/// The kernels of the instruction set in use.
const PlanarKernels& planar_kernels();

/// Pools a map of activations after their ReLU: pooled (C, H/2, W/2), routes one byte per window.
void pool_planar(const FeatureMap& map, bool average, float* pooled, std::uint8_t* routes,
                 ThreadPool& pool);

/// The gradient of the sums before ReLU and pooling, from that of the pooled map. Replaces what
/// `gradient` holds, or adds to it.
void unpool_planar(const float* pooled, const std::uint8_t* routes, bool average,
                   const FeatureMap& gradient, bool add, ThreadPool& pool);

/// The ReLU's mask: gradient ← gradient where feature > 0, else 0.
void mask_planar(const FeatureMap& feature, const FeatureMap& gradient, ThreadPool& pool);

}  // namespace fastsynth
