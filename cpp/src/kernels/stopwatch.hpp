// Times of the parts of a task, for benchmarks. The clock is read only when somebody asks.
#pragma once

namespace fastsynth {

/// Seconds of a steady clock.
double steady_seconds();

/// Processor time of the calling thread: on a busy machine a truer measure of a kernel than the
/// wall clock.
double thread_seconds();

class Stopwatch {
  public:
    /// `seconds`: where laps are added, or null for no measurement at all.
    explicit Stopwatch(double* seconds)
        : seconds_(seconds), last_(seconds ? thread_seconds() : 0.0) {}
    void lap(int part) {
        if (!seconds_) return;
        const double now = thread_seconds();
        seconds_[part] += now - last_;
        last_ = now;
    }

  private:
    double* seconds_;
    double last_;
};

}  // namespace fastsynth
