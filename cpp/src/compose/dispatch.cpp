// The kernels of the instruction set in use.
#include "fastsynth/common/kernel_set.hpp"
#include "fastsynth/compose/affine.hpp"
#include "fastsynth/compose/convolve.hpp"
#include "fastsynth/compose/samples.hpp"

namespace fastsynth {

#define FASTSYNTH_TABLES                                  \
    extern const compose::SampleKernels sample_table;     \
    extern const compose::ConvolveKernels convolve_table; \
    extern const compose::AffineKernels affine_table;

namespace portable {
FASTSYNTH_TABLES
}
#ifdef FASTSYNTH_X86
namespace avx2 {
FASTSYNTH_TABLES
}
namespace avx512 {
FASTSYNTH_TABLES
}
#define FASTSYNTH_CHOOSE(table) choose(portable::table, avx2::table, avx512::table)
#else
#define FASTSYNTH_CHOOSE(table) portable::table
#endif

namespace compose {

const SampleKernels& sample_kernels() {
    static const SampleKernels& table = FASTSYNTH_CHOOSE(sample_table);
    return table;
}

const ConvolveKernels& convolve_kernels() {
    static const ConvolveKernels& table = FASTSYNTH_CHOOSE(convolve_table);
    return table;
}

const AffineKernels& affine_kernels() {
    static const AffineKernels& table = FASTSYNTH_CHOOSE(affine_table);
    return table;
}

}  // namespace compose
}  // namespace fastsynth
