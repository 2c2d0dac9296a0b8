// What the binding files share: array types, and the register_* functions that module.cpp calls.
//
// Rules: arguments are converted with the GIL held; it is released around work, taken again only
// for a Python callback.
#pragma once

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace fastsynth {

namespace py = pybind11;

/// C-contiguous float32; the caller's memory is used as it is, other types are refused rather than
/// copied silently.
using FloatArray = py::array_t<float, py::array::c_style>;

void register_common(py::module_& module);
void register_compose_blend(py::module_& module);
void register_compose_filters(py::module_& module);
void register_patterns(py::module_& module);
void register_network(py::module_& module);
void register_native(py::module_& module);
void register_objective(py::module_& module);
void register_statistics(py::module_& module);  // called by register_objective
void register_structure(py::module_& module);   // likewise
void register_forms(py::module_& module);
void register_tiles(py::module_& module);  // called by register_objective
void register_optimize(py::module_& module);
void register_dream(py::module_& module);
void register_synthesize(py::module_& module);

}  // namespace fastsynth
