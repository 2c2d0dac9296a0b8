#include "fastsynth/objective/term.hpp"

#include <stdexcept>

namespace fastsynth {
namespace {

[[noreturn]] void refuse() { throw std::logic_error("this term cannot be shown in parts"); }

}  // namespace

void LayerTerm::start() { refuse(); }
void LayerTerm::gather(const FeatureMap&, const Place&, ThreadPool&) { refuse(); }
double LayerTerm::settle() { refuse(); }
double LayerTerm::pull(const FeatureMap&, const Place&, const Cotangent&, ThreadPool&) { refuse(); }

}  // namespace fastsynth
