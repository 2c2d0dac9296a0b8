// _core: the private compiled module. One register_* function per stage, in data-flow order.
#include "bindings.hpp"

namespace {

/// One interpreter of a process may hold this module. From Python 3.12 on, Python itself refuses
/// the others by what pybind11 declares; before, nobody does.
void refuse_subinterpreters() {
    if (PyInterpreterState_Get() != PyInterpreterState_Main())
        throw pybind11::import_error(
            "fastsynth cannot be imported in a sub-interpreter; import it in the main interpreter, "
            "or use processes (multiprocessing with the start method spawn)");
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    refuse_subinterpreters();
    module.doc() = "The C++ engine of fastsynth. Private: use the fastsynth package.";
    module.attr("__version__") = FASTSYNTH_VERSION;
    fastsynth::register_common(module);
    fastsynth::register_compose_blend(module);
    fastsynth::register_compose_filters(module);
    fastsynth::register_patterns(module);
    fastsynth::register_network(module);
    fastsynth::register_native(module);
    fastsynth::register_objective(module);
    fastsynth::register_optimize(module);
    fastsynth::register_dream(module);
    fastsynth::register_synthesize(module);
}
