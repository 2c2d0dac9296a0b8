// Positions of 64 bits on systems of 32, too; must come before any header of the system.
#if !defined(_FILE_OFFSET_BITS)
#define _FILE_OFFSET_BITS 64
#endif

#include "fastsynth/common/scratch_file.hpp"

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

#if defined(_WIN32)
#include <io.h>

#include <cstdio>
#include <mutex>
#else
#include <fcntl.h>
#include <unistd.h>
#endif

namespace fastsynth {
namespace {

constexpr std::size_t piece = std::size_t{4} << 20;  // bytes that a thread moves at a time

/// What errno says, from any thread.
std::string reason() { return std::generic_category().message(errno); }

[[noreturn]] void fail(const char* what, const std::string& why) {
    throw ScratchError(std::string("the scratch file cannot be ") + what + ": " + why);
}

#if defined(_WIN32)

// Positions are the file's: one thread at a time.
std::mutex turn;

int duplicate(int file) { return _dup(file); }
void close_file(int file) { _close(file); }

std::int64_t read_at(int file, char* data, std::size_t bytes, std::uint64_t offset) {
    const std::lock_guard<std::mutex> lock(turn);
    if (_lseeki64(file, static_cast<std::int64_t>(offset), SEEK_SET) < 0) return -1;
    return _read(file, data, static_cast<unsigned>(bytes));
}

std::int64_t write_at(int file, const char* data, std::size_t bytes, std::uint64_t offset) {
    const std::lock_guard<std::mutex> lock(turn);
    if (_lseeki64(file, static_cast<std::int64_t>(offset), SEEK_SET) < 0) return -1;
    return _write(file, data, static_cast<unsigned>(bytes));
}

#else

static_assert(sizeof(off_t) >= 8, "scratch files are larger than 2 GB");

int duplicate(int file) { return fcntl(file, F_DUPFD_CLOEXEC, 0); }
void close_file(int file) { close(file); }

std::int64_t read_at(int file, char* data, std::size_t bytes, std::uint64_t offset) {
    return pread(file, data, bytes, static_cast<off_t>(offset));
}

std::int64_t write_at(int file, const char* data, std::size_t bytes, std::uint64_t offset) {
    return pwrite(file, data, bytes, static_cast<off_t>(offset));
}

#endif

/// Moves all bytes; `move` may stop short, or be interrupted by a signal.
template <class Byte, class Move>
void move_all(const char* what, int file, std::uint64_t offset, Byte* data, std::size_t bytes,
              ThreadPool& pool, Move move) {
    const auto pieces = static_cast<std::int64_t>((bytes + piece - 1) / piece);
    pool.for_ranges(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
        std::size_t at = static_cast<std::size_t>(begin) * piece;
        const std::size_t stop = std::min(bytes, static_cast<std::size_t>(end) * piece);
        while (at < stop) {
            const std::int64_t moved =
                move(file, data + at, std::min(piece, stop - at), offset + at);
            if (moved < 0 && errno == EINTR) continue;
            if (moved < 0) fail(what, reason());
            if (moved == 0) fail(what, "it ends too early");
            at += static_cast<std::size_t>(moved);
        }
    });
}

}  // namespace

ScratchFile::ScratchFile(int descriptor) : file_(duplicate(descriptor)) {
    if (file_ < 0) fail("opened", reason());
}

ScratchFile::~ScratchFile() { close_file(file_); }

void ScratchFile::write(std::uint64_t offset, const void* data, std::size_t bytes,
                        ThreadPool& pool) {
    move_all("written", file_, offset, static_cast<const char*>(data), bytes, pool, write_at);
}

void ScratchFile::read(std::uint64_t offset, void* data, std::size_t bytes,
                       ThreadPool& pool) const {
    move_all("read", file_, offset, static_cast<char*>(data), bytes, pool, read_at);
}

void ScratchFile::announce([[maybe_unused]] std::uint64_t offset,
                           [[maybe_unused]] std::size_t bytes) const {
#if defined(POSIX_FADV_WILLNEED)
    // A wish; nothing depends on it.
    (void)posix_fadvise(file_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                        POSIX_FADV_WILLNEED);
#endif
}

}  // namespace fastsynth
