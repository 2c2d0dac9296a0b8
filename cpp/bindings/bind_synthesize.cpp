// PatchField: one level of an image analogy. Searches run without the GIL; it is taken only to ask
// the caller, now and then, whether to stop.
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/synthesize/patch_field.hpp"

namespace fastsynth {
namespace {

using MaskArray = py::array_t<std::uint8_t, py::array::c_style>;

constexpr auto poll_interval = std::chrono::milliseconds(50);

Extent extent(const std::pair<int, int>& size) { return {size.first, size.second}; }

/// Requires planar (C, H, W) of this size; returns C.
int planes_of(const FloatArray& array, Extent size, const char* name) {
    require(array.ndim() == 3 && array.shape(1) == size.height && array.shape(2) == size.width,
            name, " must be planar (C, ", size.height, ", ", size.width, ")");
    return static_cast<int>(array.shape(0));
}

/// A field with the pool that it works on.
class BoundField {
  public:
    BoundField(const FloatArray& source, std::pair<int, int> target, int patch,
               const std::optional<MaskArray>& allowed, std::uint64_t seed,
               std::shared_ptr<ThreadPool> pool)
        : pool_(std::move(pool)) {
        require(source.ndim() == 3, "source must be planar (C, H, W)");
        const Extent size{static_cast<int>(source.shape(1)), static_cast<int>(source.shape(2))};
        if (allowed)
            require(allowed->ndim() == 2 && allowed->shape(0) == size.height &&
                        allowed->shape(1) == size.width,
                    "allowed must be (", size.height, ", ", size.width, ")");
        const float* data = source.data();
        const std::uint8_t* mask = allowed ? allowed->data() : nullptr;
        const int channels = static_cast<int>(source.shape(0));
        py::gil_scoped_release work;
        field_ = std::make_unique<PatchField>(data, size, extent(target), channels, patch, mask,
                                              seed, *pool_);
    }

    void set_target(const FloatArray& planes, int first) {
        const int count = planes_of(planes, field_->target(), "planes");
        const float* data = planes.data();
        py::gil_scoped_release work;
        field_->set_target(data, first, count, *pool_);
    }

    void set_weights(const std::vector<float>& weights) { field_->set_weights(weights); }

    void init_from(const BoundField& coarse) {
        py::gil_scoped_release work;
        field_->init_from(*coarse.field_);
    }

    void offer_same_place() {
        py::gil_scoped_release work;
        field_->offer_same_place(*pool_);
    }

    void set_uniformity(double uniformity) {
        py::gil_scoped_release work;
        field_->set_uniformity(uniformity, *pool_);
    }

    bool sweep(double coherence, int radius, const std::optional<py::function>& stop) {
        Poll poll;
        auto asked = std::chrono::steady_clock::now();
        if (stop)
            poll = [&] {
                const auto now = std::chrono::steady_clock::now();
                if (now - asked < poll_interval) return false;
                asked = now;
                py::gil_scoped_acquire gil;
                if (PyErr_CheckSignals() != 0) throw py::error_already_set();
                return (*stop)().cast<bool>();
            };
        py::gil_scoped_release work;
        return field_->sweep(coherence, radius, *pool_, poll);
    }

    void mark() { field_->mark(); }
    void rewind() { field_->rewind(); }

    double mean_distance(const std::vector<float>& weights) const {
        py::gil_scoped_release work;
        return field_->mean_distance(weights, *pool_);
    }

    double incoherence() const {
        py::gil_scoped_release work;
        return field_->incoherence();
    }

    FloatArray vote(const FloatArray& planes, bool sharp) {
        const int count = planes_of(planes, field_->source(), "planes");
        FloatArray out({count, field_->target().height, field_->target().width});
        const float* data = planes.data();
        float* result = out.mutable_data();
        {
            py::gil_scoped_release work;
            field_->vote(data, count, sharp, result, *pool_);
        }
        return out;
    }

    py::array_t<std::int32_t> places() const {
        py::array_t<std::int32_t> out({field_->field().height, field_->field().width, 2});
        std::copy(field_->places().begin(), field_->places().end(), out.mutable_data());
        return out;
    }

    FloatArray distances() const {
        FloatArray out({field_->field().height, field_->field().width});
        std::copy(field_->distances().begin(), field_->distances().end(), out.mutable_data());
        return out;
    }

  private:
    std::shared_ptr<ThreadPool> pool_;
    std::unique_ptr<PatchField> field_;
};

}  // namespace

void register_synthesize(py::module_& module) {
    py::class_<BoundField>(module, "PatchField")
        .def(py::init<const FloatArray&, std::pair<int, int>, int, const std::optional<MaskArray>&,
                      std::uint64_t, std::shared_ptr<ThreadPool>>(),
             py::arg("source").noconvert(), py::arg("target"), py::arg("patch"), py::arg("allowed"),
             py::arg("seed"), py::arg("pool").none(false))
        .def("set_target", &BoundField::set_target, py::arg("planes").noconvert(), py::arg("first"))
        .def("set_weights", &BoundField::set_weights, py::arg("weights"))
        .def("init_from", &BoundField::init_from, py::arg("coarse"))
        .def("offer_same_place", &BoundField::offer_same_place)
        .def("set_uniformity", &BoundField::set_uniformity, py::arg("uniformity"))
        .def("sweep", &BoundField::sweep, py::arg("coherence"), py::arg("radius"),
             py::arg("stop") = py::none())
        .def("mark", &BoundField::mark)
        .def("rewind", &BoundField::rewind)
        .def("mean_distance", &BoundField::mean_distance, py::arg("weights"))
        .def("incoherence", &BoundField::incoherence)
        .def("vote", &BoundField::vote, py::arg("planes").noconvert(), py::arg("sharp") = false)
        .def("places", &BoundField::places)
        .def("distances", &BoundField::distances);
}

}  // namespace fastsynth
