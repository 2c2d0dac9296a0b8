#include "fastsynth/common/kernel_set.hpp"

#include <cstdlib>

#include "fastsynth/common/error.hpp"

#ifdef FASTSYNTH_X86
#include <cpuid.h>
#endif

namespace fastsynth {

#ifdef FASTSYNTH_X86
namespace {

/// Half floats, which some versions of Clang cannot be asked for by name: leaf 1, ECX, bit 29.
bool has_f16c() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1u);
}

}  // namespace
#endif

const char* name_of(KernelSet set) {
    switch (set) {
        case KernelSet::avx512pairs:
            return "avx512pairs";
        case KernelSet::avx512:
            return "avx512";
        case KernelSet::avx2:
            return "avx2";
        default:
            return "portable";
    }
}

std::vector<KernelSet> available_kernel_sets() {
    std::vector<KernelSet> sets{KernelSet::portable};
#ifdef FASTSYNTH_X86
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    if (avx2) sets.push_back(KernelSet::avx2);
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        sets.push_back(KernelSet::avx512);
        // AMD's have pipes for additions beside those for multiply-adds; Intel's share them.
        const bool pairs = __builtin_cpu_is("amd");
        sets.insert(sets.end() - (pairs ? 0 : 1), KernelSet::avx512pairs);
    }
#endif
    return sets;
}

namespace {

KernelSet detect() {
    const auto sets = available_kernel_sets();
    const char* forced = std::getenv("FASTSYNTH_KERNELS");
    if (!forced || !*forced) return sets.back();
    std::string names;
    for (KernelSet set : sets) {
        if (std::string(forced) == name_of(set)) return set;
        names += std::string(names.empty() ? "" : ", ") + name_of(set);
    }
    require(false, "FASTSYNTH_KERNELS=", forced, " cannot run here; this machine has: ", names);
    return sets.front();
}

}  // namespace

KernelSet kernel_set() {
    static const KernelSet set = detect();
    return set;
}

bool has_bf16() {
#ifdef FASTSYNTH_X86
    return kernel_set() >= KernelSet::avx512 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

}  // namespace fastsynth
