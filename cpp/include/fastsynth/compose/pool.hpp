// The threads of pixel functions, which belong to no Synthesizer.
#pragma once

#include <memory>

#include "fastsynth/common/parallel.hpp"

namespace fastsynth::compose {

/// One pool per number of threads (0: every core) and process, made when first asked for and never
/// taken down: in a forked child the parent's threads do not exist and could not be waited for.
std::shared_ptr<ThreadPool> shared_pool(int threads);

}  // namespace fastsynth::compose
