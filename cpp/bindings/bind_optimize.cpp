#include "bindings.hpp"

namespace fastsynth {

void register_optimize(py::module_&) {}

}  // namespace fastsynth
