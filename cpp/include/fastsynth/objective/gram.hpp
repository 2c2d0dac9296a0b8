// Gram matrices of feature maps, and the product that their gradient needs.
//
//   G = F Fᵀ / M      F: C x M features (C channels, M = H·W positions), G: C x C, symmetric (Eq.
//   8; its 1/M from Eq. 6) X = D F           D: C x C symmetric, X: C x M; with dL/dG = D this is
//   (M/2) dL/dF
//
// Both treat positions in chunks that stay in the L2 cache, as panels: [ceil(C /
// lanes)][positions][lanes], lanes = floats in a vector register. A map whose block equals `lanes`
// lies like that already and is used in place; every other layout, and a channel count that is no
// multiple of `lanes`, goes through one packing step per chunk.
//
// Precision: G is summed in three levels: float32 over at most 512 positions in registers, float32
// over a slab of such chunks, float64 over slabs. Slabs and chunks depend on the shape alone, so
// the result does not depend on the threads.
#pragma once

#include <cstddef>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/parallel.hpp"
#include "fastsynth/network/network.hpp"

namespace fastsynth {

/// Where and how a chunk of positions lies as panels: value (channel c, position p) is at
/// data[c / lanes * stride + p * lanes + c % lanes].
struct Panels {
    const float* data;
    std::size_t stride;     // floats from panel to panel
    std::size_t positions;  // in this chunk
    int count;              // number of panels
};

/// The family of kernels (common/kernel_set.hpp), single-threaded.
struct GramKernels {
    int lanes;   // channels in a panel
    int panels;  // panels in a column group of the packed matrix that `apply` reads

    /// Copies the positions [begin, begin + positions) of a map to consecutive panels; missing
    /// channels become 0.
    void (*pack)(const FeatureMap& map, std::size_t begin, std::size_t positions, float* panels);

    /// The way back; replaces the map's values, or adds to them.
    void (*unpack)(const float* panels, std::size_t begin, std::size_t positions,
                   const FeatureMap& map, bool add);

    /// Row panels [first, last) of the upper triangle of Σ_p f_p f_pᵀ, a square matrix of
    /// count·lanes floats a row.
    void (*multiply)(const Panels& f, int first, int last, float* sums, bool add);

    /// X = D F for a chunk. matrix: D in column groups of `panels` panels (the last may be
    /// narrower), each group [count·lanes rows][columns of the group]. out_stride: floats from
    /// panel to panel of the result.
    void (*apply)(const Panels& f, const float* matrix, float* out, std::size_t out_stride,
                  bool add);
};

const GramKernels& gram_kernels();

/// Both by pairs (kernels/gram.pairs.cpp), for processors whom that suits. D comes in column groups
/// as for GramKernels::apply, in each of them one more row, and the rows of panels 2k and 2k + 1 in
/// turns: channel c of the one, channel c of the other.
struct GramPairs {
    /// As GramKernels::multiply. x_x: memory for `sums` · count · lanes floats.
    void (*multiply)(const Panels& f, int first, int last, float* sums, bool add, float* x_x);

    /// The channel that stands in a row of D, of so many.
    std::size_t (*channel)(std::size_t row, std::size_t channels);

    /// Multiplies a group by `scale` and fills its last row. count: panels of D, width: of the
    /// group.
    void (*finish_matrix)(float* group, int count, int width, float scale);

    /// As GramKernels::apply, times `inverse`. x_x: memory for `sums` floats for each position.
    void (*apply)(const Panels& f, const float* matrix, float inverse, float* x_x, float* out,
                  std::size_t out_stride, bool add);

    std::size_t sums;
};

/// Null where plain products are faster.
const GramPairs* gram_pairs();

/// Does the products and keeps the scratch memory between calls. One object serves one caller at a
/// time.
class GramProduct {
  public:
    /// gram (C, C) ← F Fᵀ / M
    void gram(const FeatureMap& f, float* gram, ThreadPool& pool);

    /// out ← scale · D F, or out ← out + scale · D F. `d` is (C, C), symmetric; `out` has f's shape
    /// and layout. `rms`, of f, allows products that need it (gram_pairs); 0 if it is not known.
    void apply(const FeatureMap& f, const float* d, double scale, const FeatureMap& out, bool add,
               ThreadPool& pool, double rms = 0.0);

  private:
    Buffer<float> chunks_;   // packed positions, one part per worker
    Buffer<float> results_;  // packed results of apply, one part per worker
    Buffer<float> sums_;     // one triangle per slab
    Buffer<float> matrix_;   // D, packed
    Buffer<float> x_x_;      // for gram_pairs, one part per worker
};

/// The RMS of features, from the diagonal of their Gram matrix (C, C).
double features_rms(const float* gram, int channels);

/// F Fᵀ / M of a map that is shown in parts, summed in float64.
class GramSums {
  public:
    void clear() { positions_ = 0.0; }

    /// `scratch` holds (C, C) floats.
    void add(const FeatureMap& part, GramProduct& product, float* scratch, ThreadPool& pool);

    /// Positions so far.
    double positions() const { return positions_; }

    /// gram (C, C) ← F Fᵀ / M. Of a single part it is bit by bit what GramProduct::gram gives:
    /// float32 times M < 2²⁹ is exact in float64.
    void read(float* gram) const;

  private:
    std::vector<double> sums_;
    double positions_ = 0.0;
};

}  // namespace fastsynth
