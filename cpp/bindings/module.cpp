// _core: the private compiled module. One register_* function per stage, in data-flow order.
#include "bindings.hpp"

PYBIND11_MODULE(_core, module) {
    module.doc() = "The C++ engine of fastsynth. Private: use the fastsynth package.";
    module.attr("__version__") = FASTSYNTH_VERSION;
    fastsynth::register_common(module);
    fastsynth::register_compose_blend(module);
    fastsynth::register_compose_filters(module);
    fastsynth::register_patterns(module);
    fastsynth::register_network(module);
    fastsynth::register_native(module);
    fastsynth::register_objective(module);
    fastsynth::register_forms(module);
    fastsynth::register_optimize(module);
    fastsynth::register_dream(module);
    fastsynth::register_synthesize(module);
}
