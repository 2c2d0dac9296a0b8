// PatchField: for every patch of a target image a patch of a source image that resembles it, found
// by PatchMatch (Barnes et al., ACM Trans. Graph. 28(3), 2009), and images voted from such a field.
// One level of an image analogy (Hertzmann et al., SIGGRAPH 2001): the channels are those of the
// pair A, A' on the source side, and of B, B' on the target side.
//
//   E(s) = Σ_q [ d(q, s(q)) + bias(s(q)) + coherence/4 · #{r ∈ N4(q): s(r) - r ≠ s(q) - q} ]
//   d(q, p) = Σ_c w_c Σ_o g_o (T_c(q + o) - S_c(p + o))²,   Σ_o g_o = 1
//
// q, p are the upper left corners of patches that lie inside their image, o runs over the patch, g
// is a Gaussian, N4 the four neighbours. Each visit of a patch lowers E, so E falls monotonically
// while the bias stays as it is.
//
// Threads: the field is swept in tiles, in four phases (even or odd tile row and column). Tiles of
// one phase do not touch, and each has a random generator of its own, so the result does not depend
// on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "fastsynth/common/buffer.hpp"
#include "fastsynth/common/parallel.hpp"

namespace fastsynth {

/// Distances of patches; one table per instruction set.
struct PatchKernels {
    /// Rows of patches are padded to a multiple of this many floats.
    int lanes;
    /// Σ w (a-b)² over `rows` rows of `length` floats, in float32. Rows of w follow one another.
    /// May stop early, with any value above `limit`, once the sum is above it.
    float (*distance)(const float* a, std::size_t a_stride, const float* b, std::size_t b_stride,
                      const float* w, int rows, int length, float limit);
};

const PatchKernels& patch_kernels();

struct Extent {
    int height = 0, width = 0;
};

/// Where a search ends before its time: asked now and then, true = stop.
using Poll = std::function<bool()>;

class PatchField {
  public:
    /// source: planar (channels, height, width); allowed: (height, width), 0 where no patch may
    /// take a pixel, or null. The field starts as random blocks. Throws std::invalid_argument where
    /// the patch does not fit an image, or where the allowed region holds no whole patch.
    PatchField(const float* source, Extent source_size, Extent target_size, int channels, int patch,
               const std::uint8_t* allowed, std::uint64_t seed, ThreadPool& pool);

    /// Planes of the target: planar (count, height, width) become channels first, first + 1, ...
    void set_target(const float* planes, int first, int count, ThreadPool& pool);
    /// w_c ≥ 0, one for each channel.
    void set_weights(const std::vector<float>& weights);
    /// The field that a coarser level found, enlarged to this one.
    void init_from(const PatchField& coarse);
    /// Takes the same relative place in the source wherever it is nearer than what is there.
    void offer_same_place(ThreadPool& pool);

    /// Lets patches that are used more often than on average cost more: bias(p) = uniformity ·
    /// (mean d) · clamp(use(p) / mean use - 1, 0, 3), use counted over the pixels of p.
    void set_uniformity(double uniformity, ThreadPool& pool);

    /// One sweep over all patches: propagation from two neighbours, then random samples in windows
    /// around the patch that halve from `radius` (source pixels) to 1. Odd sweeps run backwards.
    /// `coherence` is in units of d. False where `poll` ended it early; the field is valid then
    /// too.
    bool sweep(double coherence, int radius, ThreadPool& pool, const Poll& poll);

    /// Remembers the places; `rewind` returns to them. Throws where none were remembered.
    void mark() { marked_ = places_; }
    void rewind();

    /// Mean d of all patches with weights of one's own.
    double mean_distance(const std::vector<float>& weights, ThreadPool& pool) const;
    /// Share of the neighbouring pairs of patches whose sources are not neighbours in the same way.
    double incoherence() const;

    /// An image from planes (count, source height, source width): each target pixel is the mean
    /// over the patches that cover it, weighted by g and by exp(-d / mean d). `sharp`: instead of
    /// the mean, the pixel among them that is nearest to it, so that only pixels of the source
    /// occur.
    void vote(const float* planes, int count, bool sharp, float* out, ThreadPool& pool);

    Extent source() const { return source_; }
    Extent target() const { return target_; }
    /// Number of target patches: rows and columns of the field.
    Extent field() const { return field_; }
    /// (row, column) of the source patch of each target patch.
    const std::vector<std::int32_t>& places() const { return places_; }
    /// d of each target patch, for the weights and the target at the last sweep.
    const Buffer<float>& distances() const { return distances_; }

  private:
    struct Tile;

    /// Random blocks, coherent within: pixels voted from single random patches would be all grey.
    void start(const std::vector<std::int32_t>& open);
    float distance(int ty, int tx, int sy, int sx, float limit,
                   const std::vector<float>& weights) const;
    double mean_of_distances(ThreadPool& pool) const;
    std::vector<float> patch_weights(const std::vector<float>& channel_weights) const;
    void interleave(const float* planes, Extent size, int first, int count, Buffer<float>& out,
                    ThreadPool& pool) const;
    void refresh(ThreadPool& pool);
    void sweep_tile(const Tile& tile, float coherence, int radius);
    int incoherent(int y, int x, int sy, int sx) const;
    std::size_t at(int y, int x) const {
        return static_cast<std::size_t>(y) * static_cast<std::size_t>(field_.width) +
               static_cast<std::size_t>(x);
    }
    std::size_t choice(int y, int x) const {
        return static_cast<std::size_t>(y) * static_cast<std::size_t>(choices_.width) +
               static_cast<std::size_t>(x);
    }

    Extent source_, target_, field_, choices_;  // choices_: rows and columns of source patches
    int channels_, pitch_;                      // pitch_: floats per pixel, channels padded
    int patch_;
    int length_;  // floats of a patch row that a distance reads
    std::uint64_t seed_;
    int sweeps_ = 0;
    bool stale_ = true;  // the distances are not of the present target and weights
    Buffer<float> source_pixels_, target_pixels_;
    std::vector<float> weights_;         // g_o w_c, rows of length_
    std::vector<float> window_;          // g_o, patch × patch
    std::vector<float> bias_;            // of each source patch; infinite where it is not allowed
    std::vector<std::uint8_t> blocked_;  // of each source patch
    std::vector<std::int32_t> places_, marked_;
    Buffer<float> distances_;
};

}  // namespace fastsynth
