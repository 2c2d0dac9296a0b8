// What a term is made of, as plain data: from it Python writes the term's form as ONNX nodes.
// Target and constants live in the C++ term alone, so that both forms have the same.
#include <memory>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/network/network.hpp"
#include "fastsynth/objective/activation.hpp"
#include "fastsynth/objective/guided_terms.hpp"
#include "fastsynth/objective/image_terms.hpp"
#include "fastsynth/objective/layer_terms.hpp"
#include "fastsynth/objective/moment_terms.hpp"
#include "fastsynth/objective/shifted_gram.hpp"
#include "fastsynth/objective/slice_term.hpp"
#include "fastsynth/objective/view_terms.hpp"

namespace fastsynth {
namespace {

FloatArray array_of(const float* from, const std::vector<py::ssize_t>& shape) {
    FloatArray array(shape);
    std::copy(from, from + array.size(), array.mutable_data());
    return array;
}

py::dict content(const ContentTerm& term) {
    const FeatureMap& map = term.layout();
    FloatArray target({map.channels, map.height, map.width});
    to_planar(map, target.mutable_data());
    return py::dict(py::arg("kind") = "content", py::arg("target") = target,
                    py::arg("scale") = term.scale());
}

py::dict moments(const MomentsTerm& term) {
    const char* names[] = {"none", "deviation", "gram", "covariance"};
    const auto n = static_cast<py::ssize_t>(term.mean_target().size());
    const auto all = static_cast<py::ssize_t>(term.second_target().size());
    std::vector<py::ssize_t> shape{all};
    if (all > n || (n == 1 && term.kind() != SecondMoment::deviation && all == 1)) shape = {n, n};
    return py::dict(py::arg("kind") = "moments",
                    py::arg("second_kind") = names[static_cast<int>(term.kind())],
                    py::arg("mean") = array_of(term.mean_target().data(), {n}),
                    py::arg("second") = array_of(term.second_target().data(), shape),
                    py::arg("mean_weight") = term.mean_weight(),
                    py::arg("second_weight") = term.second_weight());
}

py::dict slices(const SliceTerm& term, std::size_t positions) {
    const auto channels = static_cast<py::ssize_t>(term.channels());
    const py::ssize_t count = static_cast<py::ssize_t>(term.directions().size()) / channels;
    const std::vector<std::size_t> chosen = term.places(positions);
    py::array_t<std::int64_t> places(static_cast<py::ssize_t>(chosen.size()));
    std::copy(chosen.begin(), chosen.end(), places.mutable_data());
    const auto phases = static_cast<py::ssize_t>(term.phases().size());
    const py::ssize_t known = static_cast<py::ssize_t>(term.targets().size()) / count;
    return py::dict(py::arg("kind") = "slices",
                    py::arg("directions") = array_of(term.directions().data(), {count, channels}),
                    py::arg("phases") = array_of(term.phases().data(), {phases}),
                    py::arg("targets") = array_of(term.targets().data(), {count, known}),
                    py::arg("places") = places, py::arg("scale") = term.scale());
}

py::dict window(const WindowTerm& term) {
    const Window& w = term.window();
    py::object guide = py::none();
    if (!term.guide().empty()) guide = array_of(term.guide().data(), {w.height, w.width});
    return py::dict(py::arg("kind") = "window", py::arg("inner") = term.inner(),
                    py::arg("top") = w.top, py::arg("left") = w.left, py::arg("height") = w.height,
                    py::arg("width") = w.width, py::arg("guide") = guide);
}

py::object roots_of(const std::vector<float>& roots) {
    if (roots.empty()) return py::none();
    return array_of(roots.data(), {static_cast<py::ssize_t>(roots.size())});
}

py::dict gathered(const GatherTerm& term) {
    py::array_t<std::int64_t> positions(static_cast<py::ssize_t>(term.positions().size()));
    std::copy(term.positions().begin(), term.positions().end(), positions.mutable_data());
    return py::dict(py::arg("kind") = "gather", py::arg("inner") = term.inner(),
                    py::arg("positions") = positions, py::arg("roots") = roots_of(term.roots()));
}

py::dict projected(const ProjectedTerm& term) {
    return py::dict(
        py::arg("kind") = "projected", py::arg("inner") = term.inner(),
        py::arg("mixtures") = array_of(term.mixtures().data(), {term.count(), term.channels()}),
        py::arg("pooling") = term.pooling());
}

py::dict covariance(const CovarianceTerm& term) {
    const auto n = static_cast<py::ssize_t>(term.mean_target().size());
    return py::dict(py::arg("kind") = "covariance",
                    py::arg("mean") = array_of(term.mean_target().data(), {n}),
                    py::arg("covariance") = array_of(term.covariance_target().data(), {n, n}),
                    py::arg("mean_weight") = term.mean_weight(),
                    py::arg("covariance_weight") = term.covariance_weight(),
                    py::arg("roots") = roots_of(term.roots()));
}

py::dict shifted(const ShiftedGramTerm& term) {
    const auto n = static_cast<py::ssize_t>(term.centre().size());
    const auto count = 2 * static_cast<py::ssize_t>(term.shifts().size());
    return py::dict(py::arg("kind") = "shifted",
                    py::arg("targets") = array_of(term.targets().data(), {count, n, n}),
                    py::arg("shifts") = term.shifts(),
                    py::arg("centre") = array_of(term.centre().data(), {n}),
                    py::arg("scale") = term.scale());
}

py::dict activation(const ActivationTerm& term) {
    const char* names[] = {"energy", "sum", "mean"};
    py::object place = py::none();
    if (term.down() >= 0.0) place = py::make_tuple(term.down(), term.across());
    return py::dict(py::arg("kind") = "activation",
                    py::arg("measure") = names[static_cast<int>(term.measure())],
                    py::arg("channels") = term.channels(), py::arg("neuron") = place);
}

/// Plain data of a layer term whose features have `positions` positions; None for a term that has
/// no form but its C++ one.
py::object describe_layer_term(const std::shared_ptr<LayerTerm>& term, std::size_t positions) {
    const LayerTerm* t = term.get();
    if (const auto* own = dynamic_cast<const ContentTerm*>(t)) return content(*own);
    if (const auto* own = dynamic_cast<const GramTerm*>(t))
        return py::dict(
            py::arg("kind") = "gram",
            py::arg("target") = array_of(own->target().data(), {own->channels(), own->channels()}),
            py::arg("scale") = own->scale());
    if (const auto* own = dynamic_cast<const MomentsTerm*>(t)) return moments(*own);
    if (const auto* own = dynamic_cast<const SliceTerm*>(t)) return slices(*own, positions);
    if (const auto* own = dynamic_cast<const WindowTerm*>(t)) return window(*own);
    if (const auto* own = dynamic_cast<const GatherTerm*>(t)) return gathered(*own);
    if (const auto* own = dynamic_cast<const ProjectedTerm*>(t)) return projected(*own);
    if (const auto* own = dynamic_cast<const CovarianceTerm*>(t)) return covariance(*own);
    if (const auto* own = dynamic_cast<const ShiftedGramTerm*>(t)) return shifted(*own);
    if (const auto* own = dynamic_cast<const ActivationTerm*>(t)) return activation(*own);
    if (const auto* own = dynamic_cast<const GuidedTerm*>(t))
        return py::dict(
            py::arg("kind") = "guided",
            py::arg("guide") = array_of(own->rows().data(), {own->count(), own->channels()}),
            py::arg("nearest") = own->match() == Match::nearest);
    return py::none();
}

/// The same of an image term.
py::object describe_image_term(const std::shared_ptr<ImageTerm>& term) {
    const ImageTerm* t = term.get();
    if (const auto* own = dynamic_cast<const TotalVariation*>(t))
        return py::dict(py::arg("kind") = "total_variation", py::arg("beta") = own->beta(),
                        py::arg("mean") = own->average() == Average::mean);
    if (const auto* own = dynamic_cast<const AlphaNorm*>(t))
        return py::dict(py::arg("kind") = "alpha_norm", py::arg("alpha") = own->alpha(),
                        py::arg("mean") = own->average() == Average::mean);
    if (const auto* own = dynamic_cast<const RangePenalty*>(t))
        return py::dict(py::arg("kind") = "range", py::arg("low") = own->low(),
                        py::arg("high") = own->high());
    return py::none();
}

}  // namespace

void register_forms(py::module_& module) {
    module.def("describe_layer_term", &describe_layer_term, py::arg("term").none(false),
               py::arg("positions"));
    module.def("describe_image_term", &describe_image_term, py::arg("term").none(false));
}

}  // namespace fastsynth
