#include "fastsynth/optimize/gradient_descent.hpp"

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"

namespace fastsynth {

GradientDescent::GradientDescent(const GradientDescentSettings& settings) : settings_(settings) {
    require(std::isfinite(settings.step) && settings.step > 0,
            "step must be a positive number, not ", settings.step);
    require(settings.momentum >= 0 && settings.momentum < 1, "momentum must lie in [0, 1), not ",
            settings.momentum);
}

void GradientDescent::start(std::size_t size) {
    gradient_.resize(size);
    velocity_.resize(settings_.momentum > 0 ? size : 0);
}

Outcome GradientDescent::iterate(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool) {
    const std::size_t n = x.size();
    const Sample sample = evaluator.evaluate(x.data(), gradient_.data());
    if (!sample.finite()) evaluator.diverged();
    if (evaluator.stationary(sample)) return Outcome::stationary;

    double scale = 1.0;
    if (settings_.normalize && sample.max_gradient > 0)
        scale = static_cast<double>(n) / norm1(gradient_.data(), n, pool);
    if (velocity_.empty()) {
        axpy(static_cast<float>(-settings_.step * scale), gradient_.data(), x.data(), n, pool);
    } else {
        axpby(static_cast<float>(scale), gradient_.data(), static_cast<float>(settings_.momentum),
              velocity_.data(), n, pool);
        axpy(static_cast<float>(-settings_.step), velocity_.data(), x.data(), n, pool);
    }
    return Outcome::moved;
}

void GradientDescent::visit(Archive& archive) {
    archive.label("optimizer", name());
    if (!velocity_.empty()) archive.floats("velocity", velocity_);
}

}  // namespace fastsynth
