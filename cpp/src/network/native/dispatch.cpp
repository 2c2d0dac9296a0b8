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
#endif

const ConvKernels& conv_kernels() {
#ifdef FASTSYNTH_X86
    return choose(portable::conv_kernel_table, avx2::conv_kernel_table, avx512::conv_kernel_table);
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
