// Which instruction set the kernels use. Chosen once, when the first kernel runs: the best that the
// processor has, or the one that the environment variable FASTSYNTH_KERNELS names:
// portable, avx2, avx512 or avx512pairs (avx512, but large products of float32 in a way that suits
// AMD's processors: kernels/winograd.pairs.cpp).
//
// A family of kernels is a struct of function pointers (e.g. VectorKernels). Its implementation,
// cpp/src/kernels/<family>.isa.cpp, is compiled once per set into a namespace of the set's name,
// and the family's .cpp picks one with `choose`.
#pragma once

#include <string>
#include <vector>

namespace fastsynth {

enum class KernelSet { portable, avx2, avx512, avx512pairs };

const char* name_of(KernelSet set);

/// The sets that this binary holds and this processor can run, slowest first.
std::vector<KernelSet> available_kernel_sets();

/// The set in use. Throws std::invalid_argument when FASTSYNTH_KERNELS names a set that cannot run
/// here.
KernelSet kernel_set();

/// Whether the set in use is one of avx512 and the processor also multiplies bfloat16
/// (AVX512_BF16).
bool has_bf16();

/// The member of {portable, avx2, avx512} that belongs to the set in use.
template <class Table>
const Table& choose(const Table& portable, [[maybe_unused]] const Table& avx2,
                    [[maybe_unused]] const Table& avx512) {
    switch (kernel_set()) {
        case KernelSet::avx512:
        case KernelSet::avx512pairs:
            return avx512;
        case KernelSet::avx2:
            return avx2;
        default:
            return portable;
    }
}

}  // namespace fastsynth
