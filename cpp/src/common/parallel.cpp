#include "fastsynth/common/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "fastsynth/common/error.hpp"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastsynth {
namespace {

constexpr auto spin_time = std::chrono::microseconds(50);

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#else
    std::this_thread::yield();
#endif
}

int usable_cores() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

/// Counts the forks that led to this process: threads do not come along into a child process, so a
/// pool that was made before the last fork has lost its helpers.
std::atomic<int> forks{0};

void count_forks() {
#if defined(__unix__) || defined(__APPLE__)
    static const int registered = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
    static_cast<void>(registered);
#endif
}

/// Spins until `ready()` or the spin time is over; says whether it became ready.
template <class Ready>
bool spin_until(Ready ready) {
    const auto deadline = std::chrono::steady_clock::now() + spin_time;
    do {
        for (int i = 0; i < 64; ++i) {
            if (ready()) return true;
            relax();
        }
    } while (std::chrono::steady_clock::now() < deadline);
    return ready();
}

}  // namespace

struct ThreadPool::State {
    explicit State(int count) {
        for (int worker = 1; worker < count; ++worker)
            helpers.emplace_back([this, worker] { help(worker); });
    }

    ~State() {
        {
            std::lock_guard<std::mutex> lock(mutex);
            stopping = true;
            generation.fetch_add(1);
        }
        wake.notify_all();
        for (auto& thread : helpers) thread.join();
    }

    void work(int worker) {
        for (;;) {
            const std::int64_t i = next.fetch_add(1, std::memory_order_relaxed);
            if (i >= tasks) return;
            try {
                (*task)(i, worker);
            } catch (...) {
                std::lock_guard<std::mutex> lock(mutex);
                if (!error) error = std::current_exception();
                next.store(tasks);  // the remaining tasks are of no use
            }
        }
    }

    void help(int worker) {
        std::uint64_t seen = 0;
        for (;;) {
            auto called = [&] { return generation.load(std::memory_order_acquire) != seen; };
            if (!spin_until(called)) {
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, called);
            }
            seen = generation.load(std::memory_order_acquire);
            if (stopping) return;
            work(worker);
            if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                // Locked, so that the caller cannot miss the signal.
                std::lock_guard<std::mutex> lock(mutex);
                done.notify_one();
            }
        }
    }

    void run(std::int64_t count, const std::function<void(std::int64_t, int)>& body) {
        task = &body;
        tasks = count;
        error = nullptr;
        next.store(0, std::memory_order_relaxed);
        pending.store(static_cast<int>(helpers.size()), std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex);
            generation.fetch_add(1, std::memory_order_release);
        }
        wake.notify_all();
        work(0);
        auto finished = [&] { return pending.load(std::memory_order_acquire) == 0; };
        if (!spin_until(finished)) {
            std::unique_lock<std::mutex> lock(mutex);
            done.wait(lock, finished);
        }
        if (error) std::rethrow_exception(error);
    }

    /// Whether the helpers run in this process.
    bool alive() const { return made_after == forks.load(std::memory_order_relaxed); }

    const int made_after = forks.load();  // forks
    std::vector<std::thread> helpers;
    std::mutex user;  // held by the thread whose tasks the pool is working on
    std::mutex mutex;
    std::condition_variable wake, done;
    std::atomic<std::uint64_t> generation{0};
    std::atomic<std::int64_t> next{0};
    std::atomic<int> pending{0};
    std::int64_t tasks = 0;
    const std::function<void(std::int64_t, int)>* task = nullptr;
    std::exception_ptr error;
    std::atomic<bool> stopping{false};
};

ThreadPool::ThreadPool(int threads) {
    require(threads >= 0 && threads <= 4096, "threads must be 0 (all cores) to 4096, not ",
            threads);
    count_forks();
    state_ = new State(threads ? threads : usable_cores());
}

ThreadPool::~ThreadPool() {
    State* state = state_.load();
    if (state->alive()) delete state;  // else its threads cannot be joined: there are none
}

ThreadPool::State& ThreadPool::state() {
    State* found = state_.load(std::memory_order_acquire);
    if (found->alive()) return *found;
    // In a child process. The old state is left alone: its mutexes may be held for ever by threads
    // that are not here. Several threads may come here at once; one of them wins.
    auto fresh = std::make_unique<State>(static_cast<int>(found->helpers.size()) + 1);
    if (state_.compare_exchange_strong(found, fresh.get())) return *fresh.release();
    return *found;
}

int ThreadPool::threads() const { return static_cast<int>(state_.load()->helpers.size()) + 1; }

void ThreadPool::run(std::int64_t tasks, const std::function<void(std::int64_t, int)>& task) {
    State& here = state();
    std::unique_lock<std::mutex> mine(here.user, std::try_to_lock);
    if (mine.owns_lock() && tasks > 1 && !here.helpers.empty()) {
        here.run(tasks, task);
    } else {
        for (std::int64_t i = 0; i < tasks; ++i) task(i, 0);
    }
}

void ThreadPool::for_ranges(std::int64_t count, std::int64_t grain,
                            const std::function<void(std::int64_t, std::int64_t)>& body) {
    require(grain > 0, "grain must be positive, not ", grain);
    const std::int64_t ranges = (count + grain - 1) / grain;
    run(ranges, [&](std::int64_t i, int) { body(i * grain, std::min(count, (i + 1) * grain)); });
}

double ThreadPool::sum(std::int64_t count, std::int64_t grain,
                       const std::function<double(std::int64_t, std::int64_t)>& body) {
    require(grain > 0, "grain must be positive, not ", grain);
    std::vector<double> parts(static_cast<std::size_t>((count + grain - 1) / grain), 0.0);
    run(static_cast<std::int64_t>(parts.size()), [&](std::int64_t i, int) {
        parts[static_cast<std::size_t>(i)] = body(i * grain, std::min(count, (i + 1) * grain));
    });
    double total = 0.0;
    for (double part : parts) total += part;
    return total;
}

}  // namespace fastsynth
