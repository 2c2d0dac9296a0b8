// Guarded<T>: memory between two pages that nobody may touch. A read or write beyond either end
// stops the program, also where no sanitizer looks (vector instructions, non-temporal stores).
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace fastsynth {

enum class Against { front, back };

template <class T>
class Guarded {
  public:
    /// `count` zeros, which begin right behind the first guard page or end right before the second
    /// one (up to the alignment that kernels ask for: 64 bytes, or what the size allows).
    Guarded(std::size_t count, Against side) : count_(count) {
        page_ = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t bytes = count * sizeof(T);
        inner_ = (bytes + page_ - 1) / page_ * page_;
        // Emulators of a processor may read more than its instructions do: FASTSYNTH_GUARD_PAGES=0.
        const char* wish = std::getenv("FASTSYNTH_GUARD_PAGES");
        const int guard = wish && *wish == '0' ? PROT_READ | PROT_WRITE : PROT_NONE;
        base_ = mmap(nullptr, inner_ + 2 * page_, guard, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base_ == MAP_FAILED) throw std::bad_alloc();
        auto* first = static_cast<std::uint8_t*>(base_) + page_;
        if (inner_ && mprotect(first, inner_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
        data_ = reinterpret_cast<T*>(side == Against::front ? first : first + inner_ - bytes);
    }
    ~Guarded() { munmap(base_, inner_ + 2 * page_); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    T* data() { return data_; }
    std::size_t size() const { return count_; }
    T& operator[](std::size_t i) { return data_[i]; }
    T* begin() { return data_; }
    T* end() { return data_ + count_; }

  private:
    std::size_t count_, page_, inner_;
    void* base_;
    T* data_;
};

}  // namespace fastsynth
