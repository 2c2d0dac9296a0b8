#include <chrono>
#include <ctime>

#include "fastsynth/common/kernel_set.hpp"
#include "kernels/conv_kernels.hpp"
#include "kernels/stopwatch.hpp"

namespace fastsynth {

namespace portable {
extern const ConvKernels conv_kernel_table;
}
#ifdef FASTSYNTH_X86
namespace avx2 {
extern const ConvKernels conv_kernel_table;
}
namespace avx512 {
extern const ConvKernels conv_kernel_table;
}
namespace avx512bf16 {
extern const WinogradKernels winograd4_bf16;
}
namespace avx512pairs {
extern const WinogradKernels winograd4_pairs;
}

namespace {

/// The AVX-512 set, with what some processors have or like besides.
ConvKernels extended() {
    ConvKernels table = avx512::conv_kernel_table;
    if (kernel_set() == KernelSet::avx512pairs) table.winograd4 = &avx512pairs::winograd4_pairs;
    if (has_bf16()) table.winograd4_half = &avx512bf16::winograd4_bf16;
    return table;
}

}  // namespace
#endif

const ConvKernels& conv_kernels() {
#ifdef FASTSYNTH_X86
    static const ConvKernels largest = extended();
    return choose(portable::conv_kernel_table, avx2::conv_kernel_table, largest);
#else
    return choose(portable::conv_kernel_table, portable::conv_kernel_table,
                  portable::conv_kernel_table);
#endif
}

double thread_seconds() {
#if defined(CLOCK_THREAD_CPUTIME_ID)
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
#else
    return steady_seconds();
#endif
}

double steady_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

}  // namespace fastsynth
