// ThreadPool: runs numbered tasks on a fixed number of threads.
//
// Results never depend on timing: which thread takes a task is open, but the tasks themselves are
// fixed by the caller. So write each task's partial sums to a slot of its own and add the slots in
// order of task number (see `sum`).
//
// Waiting threads spin for a short while (about 50 µs, so that the many small steps of one
// evaluation do not pay for waking up) and then sleep, so that an idle pool leaves the cores to
// whoever needs them.
//
// A pool may be used after a fork, in the child too: there it starts its threads anew. The fork
// must not come while the pool is at work.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace fastsynth {

class ThreadPool {
  public:
    /// `threads` = 0 takes every core that this process may use.
    explicit ThreadPool(int threads = 0);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// Number of threads that work on a run, the caller's included.
    int threads() const;

    /// task(i, worker) for every i in [0, tasks); worker in [0, threads()) may index scratch
    /// memory. Returns when all are done; rethrows the first exception. When another thread is
    /// using the pool, the caller does all tasks itself, as worker 0: correct, deterministic, and
    /// free of deadlocks. Hence scratch memory that is indexed by worker belongs to the caller,
    /// never to the pool.
    void run(std::int64_t tasks, const std::function<void(std::int64_t task, int worker)>& task);

    /// Splits [0, count) into ranges of about `grain` items and runs body(begin, end) for each.
    void for_ranges(std::int64_t count, std::int64_t grain,
                    const std::function<void(std::int64_t begin, std::int64_t end)>& body);

    /// The sum of body(begin, end) over ranges of `grain` items, added in order: the same for any
    /// number of threads.
    double sum(std::int64_t count, std::int64_t grain,
               const std::function<double(std::int64_t begin, std::int64_t end)>& body);

  private:
    struct State;
    State& state();
    std::atomic<State*> state_;
};

}  // namespace fastsynth
