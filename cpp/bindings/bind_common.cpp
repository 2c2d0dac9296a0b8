#include <memory>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/common/kernel_set.hpp"
#include "fastsynth/common/parallel.hpp"

namespace fastsynth {

void register_common(py::module_& module) {
    py::class_<ThreadPool, std::shared_ptr<ThreadPool>>(module, "ThreadPool")
        .def(py::init<int>(), py::arg("threads") = 0)
        .def_property_readonly("threads", &ThreadPool::threads);

    module.def("kernel_set", [] { return name_of(kernel_set()); });
    module.def("has_bf16", &has_bf16);
    module.def("available_kernel_sets", [] {
        std::vector<std::string> names;
        for (KernelSet set : available_kernel_sets()) names.emplace_back(name_of(set));
        return names;
    });
}

}  // namespace fastsynth
