#include "fastsynth/compose/pool.hpp"

#include <map>
#include <mutex>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace fastsynth::compose {

std::shared_ptr<ThreadPool> shared_pool(int threads) {
#if defined(__unix__) || defined(__APPLE__)
    const long process = getpid();
#else
    const long process = 0;  // no fork there
#endif
    using Pools = std::map<std::pair<long, int>, std::shared_ptr<ThreadPool>>;
    static std::mutex mutex;
    static Pools& pools = *new Pools;  // never destroyed, see the header
    std::lock_guard<std::mutex> lock(mutex);
    auto& pool = pools[{process, threads}];
    if (!pool) pool = std::make_shared<ThreadPool>(threads);
    return pool;
}

}  // namespace fastsynth::compose
