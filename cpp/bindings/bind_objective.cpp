#include "bindings.hpp"

namespace fastsynth {

void register_objective(py::module_&) {}

}  // namespace fastsynth
