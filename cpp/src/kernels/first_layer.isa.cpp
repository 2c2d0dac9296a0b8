// The first layer, 3 channels to many: a direct convolution, because transforms would cost more
// than they save at 3 inputs; and its gradient, many channels to 3, by dot products along the
// channels.
#include "bits.hpp"
#include "conv_kernels.hpp"
#include "microkernel.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

constexpr int pixel_block =
    tile_pack;  // pixels of a row whose sums are in registers at the same time, forward

/// Rows of the padded picture: one zero on the left, one on the right, and room for a last block
/// that reads too far.
std::size_t first_stride(int width) {
    return std::size_t((width + pixel_block - 1) / pixel_block * pixel_block) + 2;
}

/// x'_i = Σ_j A_ij x_j + b_i for each pixel; the border stays zero, as the network pads after
/// normalising.
void normalise(const FirstLayer& layer, const float* image, int first, int last) {
    const std::size_t plane = std::size_t(layer.height) * layer.width;
    const std::size_t padded_plane = (layer.height + 2) * layer.stride;
    for (int y = first; y < last; ++y)
        for (int i = 0; i < 3; ++i) {
            const float* A = layer.normalise + 3 * i;
            const float b = layer.normalise[9 + i];
            const float* in = image + std::size_t(y) * layer.width;
            float* out = layer.padded + i * padded_plane + (y + 1) * layer.stride + 1;
            for (int x = 0; x < layer.width; ++x)
                out[x] = A[0] * in[x] + A[1] * in[plane + x] + A[2] * in[2 * plane + x] + b;
        }
}

/// `pixel_block` pixels × one pack of channels: 27 steps of the same outer product as in the
/// micro-kernel.
__attribute__((noinline)) void forward_block(const FirstLayer& layer, const ForwardOutput& out,
                                             bool is_streamed, int pack, int y, int x) {
    const std::size_t plane = (layer.height + 2) * layer.stride;
    const float* weights = layer.weights + std::size_t(pack) * 27 * out_pack;
    Floats sums[pixel_block][pack_vectors];
    FASTSYNTH_UNROLL for (int t = 0; t < pixel_block; ++t)
        FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) sums[t][j] =
            load(out.bias + (pack * pack_vectors + j) * lanes);
    for (int c = 0; c < 3; ++c)
        for (int ky = 0; ky < 3; ++ky) {
            const float* row = layer.padded + c * plane + std::size_t(y + ky) * layer.stride + x;
            for (int kx = 0; kx < 3; ++kx, weights += out_pack) {
                Floats w[pack_vectors];
                FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) w[j] =
                    load(weights + j * lanes);
                FASTSYNTH_UNROLL for (int t = 0; t < pixel_block; ++t) {
                    Floats v = broadcast(row[t + kx]);
                    keep(v);
                    FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) sums[t][j] += v * w[j];
                }
            }
        }
    FASTSYNTH_UNROLL for (int j = 0; j < pack_vectors; ++j) {
        const int block = pack * pack_vectors + j;
        if (block >= layer.out_blocks) break;
        const std::size_t pixel = (std::size_t(block) * layer.height + y) * layer.width + x;
        FASTSYNTH_UNROLL for (int t = 0; t < pixel_block; ++t) {
            if (x + t >= layer.width) break;
            const Floats value = relu(sums[t][j]);
            if (is_streamed) {
                stream(out.map + (pixel + t) * lanes, value);
            } else {
                store(out.map + (pixel + t) * lanes, value);
            }
            if (out.relu_bits) store_bits(out.relu_bits, pixel + t, positive(value));
        }
    }
}

void forward(const FirstLayer& layer, const ForwardOutput& out, bool is_streamed, int first,
             int last) {
    const int packs = (layer.out_blocks + pack_vectors - 1) / pack_vectors;
    for (int y = first; y < last; ++y)
        for (int pack = 0; pack < packs; ++pack)
            for (int x = 0; x < layer.width; x += pixel_block)
                forward_block(layer, out, is_streamed, pack, y, x);
    if (is_streamed) fence();
}

/// Gradient of the normalised picture at `count` pixels of row y from x on:
///   g_i(y, x) = Σ_{ky,kx} Σ_c w[ky][kx][i][c] · dz_c(y + ky - 1, x + kx - 1)
/// with kernels turned by 180°. One vector of partial sums per pixel and colour, its lanes added at
/// the end. Neighbours outside the picture count as zero; `inside` promises that those to the left
/// and right are in it.
/// `masked`: only what `bits` let through counts.
template <int count, bool inside, bool masked>
__attribute__((noinline)) void backward_block(const FirstLayer& layer, const float* gradient,
                                              const std::uint8_t* bits, int y, int x, float* out) {
    Floats sums[count][3];
    FASTSYNTH_UNROLL for (int t = 0; t < count; ++t) FASTSYNTH_UNROLL for (int i = 0; i < 3; ++i)
        sums[t][i] = Floats{};
    for (int ky = 0; ky < 3; ++ky) {
        const int source = y + ky - 1;
        if (source < 0 || source >= layer.height) continue;
        for (int kx = 0; kx < 3; ++kx) {
            if (!inside && (x + kx - 1 < 0 || x + kx - 1 >= layer.width))
                continue;  // then count is 1
            const float* w =
                layer.backward_weights + std::size_t(ky * 3 + kx) * layer.out_blocks * 3 * lanes;
            const std::size_t plane = std::size_t(layer.height) * layer.width;
            std::size_t pixel = std::size_t(source) * layer.width + (x + kx - 1);
            for (int block = 0; block < layer.out_blocks; ++block, pixel += plane) {
                FASTSYNTH_UNROLL for (int t = 0; t < count; ++t) {
                    Floats v = load(gradient + (pixel + t) * lanes);
                    if (masked) v = select(load_bits(bits, pixel + t), v);
                    FASTSYNTH_UNROLL for (int i = 0; i < 3; ++i) sums[t][i] +=
                        v * load(w + i * lanes);
                }
                w += 3 * lanes;
            }
        }
    }
    FASTSYNTH_UNROLL for (int t = 0; t < count; ++t) FASTSYNTH_UNROLL for (int i = 0; i < 3; ++i)
        out[3 * t + i] = sum_lanes(sums[t][i]);
}

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int gradient_block = 8;
#else
constexpr int gradient_block = 4;
#endif

template <bool masked>
void backward_rows(const FirstLayer& layer, const float* gradient, const std::uint8_t* bits,
                   float* image_gradient, int first, int last) {
    const std::size_t plane = std::size_t(layer.height) * layer.width;
    const float* A = layer.normalise;
    for (int y = first; y < last; ++y)
        for (int x = 0; x < layer.width;) {
            float normalised[3 * gradient_block];
            int count = 1;
            if (x >= 1 && x + gradient_block + 1 <= layer.width) {
                count = gradient_block;
                backward_block<gradient_block, true, masked>(layer, gradient, bits, y, x,
                                                             normalised);
            } else {
                backward_block<1, false, masked>(layer, gradient, bits, y, x, normalised);
            }
            // The picture's gradient is Aᵀ times that of the normalised one.
            for (int t = 0; t < count; ++t)
                for (int i = 0; i < 3; ++i) {
                    const float* g = normalised + 3 * t;
                    image_gradient[i * plane + std::size_t(y) * layer.width + x + t] =
                        A[i] * g[0] + A[3 + i] * g[1] + A[6 + i] * g[2];
                }
            x += count;
        }
}

void backward(const FirstLayer& layer, const float* gradient, const std::uint8_t* bits,
              float* image_gradient, int first, int last) {
    if (bits) {
        backward_rows<true>(layer, gradient, bits, image_gradient, first, last);
    } else {
        backward_rows<false>(layer, gradient, bits, image_gradient, first, last);
    }
}

}  // namespace

extern const FirstLayerKernels first_layer;
const FirstLayerKernels first_layer = {first_stride, normalise, forward, backward};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
