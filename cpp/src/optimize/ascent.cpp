#include "fastsynth/optimize/ascent.hpp"

#include <cstdint>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {

Ascent::Ascent(const AscentSettings& settings) : settings_(settings) {
    require(std::isfinite(settings.step) && settings.step > 0,
            "step must be a positive number, not ", settings.step);
    require(settings.low < settings.high, "the range of values needs low < high, not ",
            settings.low, " and ", settings.high);
    require(settings.levels >= 0, "levels must be at least 0, not ", settings.levels);
    if (settings.levels > 0)
        bands_ =
            std::make_unique<BandNormalizer>(3, settings.height, settings.width, settings.levels);
}

void Ascent::start(std::size_t size) {
    require(!bands_ || bands_->size() == size, "the pyramid is for ", bands_ ? bands_->size() : 0,
            " values, the image has ", size);
    gradient_.resize(size);
}

Outcome Ascent::iterate(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool) {
    const Sample sample = evaluator.evaluate(x.data(), gradient_.data());
    if (!sample.finite()) evaluator.diverged();
    if (evaluator.stationary(sample)) return Outcome::stationary;

    float* g = gradient_.data();
    if (bands_) bands_->apply(g, pool);
    double step = settings_.step;
    if (settings_.normalize) {
        const double total = norm1(g, x.size(), pool);
        if (total > 0.0) step *= static_cast<double>(x.size()) / total;
    }
    pool.for_ranges(
        static_cast<std::int64_t>(x.size()), 1 << 15, [&](std::int64_t begin, std::int64_t end) {
            pyramid_kernels().descend(static_cast<float>(step), g + begin,
                                      static_cast<float>(settings_.low),
                                      static_cast<float>(settings_.high), x.data() + begin,
                                      static_cast<std::size_t>(end - begin));
        });
    return Outcome::moved;
}

void Ascent::visit(Archive& archive) { archive.label("optimizer", name()); }

}  // namespace fastsynth
