#include "fastsynth/optimize/adam.hpp"

#include <algorithm>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/vector.hpp"
#include "fastsynth/optimize/kernels.hpp"

namespace fastsynth {

Adam::Adam(const AdamSettings& settings) : settings_(settings) {
    require(std::isfinite(settings.learning_rate) && settings.learning_rate > 0,
            "learning_rate must be a positive number, not ", settings.learning_rate);
    require(settings.beta1 >= 0 && settings.beta1 < 1 && settings.beta2 >= 0 && settings.beta2 < 1,
            "betas must lie in [0, 1), not (", settings.beta1, ", ", settings.beta2, ")");
    require(std::isfinite(settings.epsilon) && settings.epsilon > 0,
            "epsilon must be a positive number, not ", settings.epsilon);
    require(settings.average >= 0 && settings.average < 1, "average must lie in [0, 1), not ",
            settings.average);
}

void Adam::start(std::size_t size) {
    gradient_.resize(size);
    mean_.resize(size);
    square_.resize(size);
    average_.resize(settings_.average > 0 ? size : 0);
    steps_ = 0;
}

Outcome Adam::iterate(Buffer<float>& x, Evaluator& evaluator, ThreadPool& pool) {
    const std::size_t n = x.size();
    const Sample sample = evaluator.evaluate(x.data(), gradient_.data());
    if (!sample.finite()) evaluator.diverged();
    if (evaluator.stationary(sample)) return Outcome::stationary;

    ++steps_;
    const auto t = static_cast<double>(steps_);
    const AdamStep step{
        static_cast<float>(settings_.beta1), static_cast<float>(settings_.beta2),
        static_cast<float>(settings_.learning_rate / (1.0 - std::pow(settings_.beta1, t))),
        static_cast<float>(1.0 / (1.0 - std::pow(settings_.beta2, t))),
        static_cast<float>(settings_.epsilon)};
    adam(step, gradient_.data(), mean_.data(), square_.data(), x.data(), n, pool);
    if (!average_.empty()) {
        const double decay = steps_ > 1 ? settings_.average : 0.0;
        axpby(static_cast<float>(1.0 - decay), x.data(), static_cast<float>(decay), average_.data(),
              n, pool);
    }
    return Outcome::moved;
}

void Adam::visit(Archive& archive) {
    archive.label("optimizer", name());
    archive.count("steps", steps_);
    if (archive.restoring()) require(steps_ >= 0, "steps must not be negative, but is ", steps_);
    archive.floats("mean", mean_);
    archive.floats("square", square_);
    if (!average_.empty()) archive.floats("average", average_);
}

}  // namespace fastsynth
