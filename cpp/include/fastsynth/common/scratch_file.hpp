// ScratchFile: numbers that do not fit the memory, in a file that nobody else sees.
//
// It is read and written by position and never mapped: what it holds is no memory of the process.
// The system keeps of it what it has room for, and lets go of that when memory is asked for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastsynth/common/error.hpp"
#include "fastsynth/common/parallel.hpp"

namespace fastsynth {

/// A scratch file cannot be read or written.
struct ScratchError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class ScratchFile {
  public:
    /// `descriptor`: of a file that is open for reading and writing. It stays the caller's, who may
    /// close it: this holds one of its own, and drops it in the end.
    explicit ScratchFile(int descriptor);
    ~ScratchFile();
    ScratchFile(const ScratchFile&) = delete;
    ScratchFile& operator=(const ScratchFile&) = delete;

    /// Offsets and sizes are in bytes. Throw ScratchError.
    void write(std::uint64_t offset, const void* data, std::size_t bytes, ThreadPool& pool);
    void read(std::uint64_t offset, void* data, std::size_t bytes, ThreadPool& pool) const;

    /// Tells the system what will be read soon: it may begin to fetch it.
    void announce(std::uint64_t offset, std::size_t bytes) const;

  private:
    int file_;
};

}  // namespace fastsynth
