#include "fastsynth/network/native/probes.hpp"

#include <algorithm>
#include <vector>

#include "fastsynth/common/parallel.hpp"
#include "kernels/conv_kernels.hpp"
#include "kernels/stopwatch.hpp"

namespace fastsynth {
namespace {

const WinogradKernels& winograd(int m) {
    return *(m == 6 ? conv_kernels().winograd6 : conv_kernels().winograd4);
}

}  // namespace

void probe_input_transform(int m, const float* tile, float* transformed) {
    winograd(m).transform_input(tile, transformed);
}

void probe_output_transform(int m, const float* sums, float* outputs) {
    winograd(m).transform_output(sums, outputs);
}

void probe_kernel_transform(int m, const float* kernel, float* transformed) {
    const ConvKernels& kernels = conv_kernels();
    const std::size_t points = static_cast<std::size_t>((m + 2) * (m + 2));
    const std::size_t stride = winograd(m).weights_stride(kernels.lanes);
    std::vector<float> arranged(static_cast<std::size_t>(9 * kernels.lanes * kernels.out_pack));
    std::vector<float> all(points * stride);
    kernels.arrange(kernel, 1, 1, false, 0, arranged.data());
    winograd(m).transform_weights(arranged.data(), kernels.lanes, all.data());
    for (std::size_t point = 0; point < points; ++point)  // input channel 0, output channel 0
        transformed[point] = all[point * stride];
}

double probe_multiply_add_peak(int threads, double seconds) {
    ThreadPool pool(threads);
    const int count = pool.threads();
    double best = 0.0;
    const double end = steady_seconds() + seconds;
    do {
        std::vector<double> operations(static_cast<std::size_t>(count));
        const double start = steady_seconds();
        pool.run(count, [&](std::int64_t i, int) {
            operations[static_cast<std::size_t>(i)] = conv_kernels().multiply_adds(200000);
        });
        const double elapsed = steady_seconds() - start;
        double total = 0.0;
        for (double part : operations) total += part;
        best = std::max(best, total / elapsed);
    } while (steady_seconds() < end);
    return best;
}

}  // namespace fastsynth
