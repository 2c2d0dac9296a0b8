// The patterns' kernels of the instruction set in use.
#include "fastsynth/common/kernel_set.hpp"
#include "patterns/automaton_kernels.hpp"
#include "patterns/field_kernels.hpp"

namespace fastsynth {

namespace portable {
extern const AutomatonKernels automaton_table;
extern const FieldKernels field_table;
}  // namespace portable
#ifdef FASTSYNTH_X86
namespace avx2 {
extern const AutomatonKernels automaton_table;
extern const FieldKernels field_table;
}  // namespace avx2
namespace avx512 {
extern const AutomatonKernels automaton_table;
extern const FieldKernels field_table;
}  // namespace avx512
#endif

const AutomatonKernels& automaton_kernels() {
#ifdef FASTSYNTH_X86
    static const AutomatonKernels& table =
        choose(portable::automaton_table, avx2::automaton_table, avx512::automaton_table);
    return table;
#else
    return portable::automaton_table;
#endif
}

const FieldKernels& field_kernels() {
#ifdef FASTSYNTH_X86
    static const FieldKernels& table =
        choose(portable::field_table, avx2::field_table, avx512::field_table);
    return table;
#else
    return portable::field_table;
#endif
}

}  // namespace fastsynth
