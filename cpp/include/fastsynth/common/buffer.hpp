// Buffer<T>: memory aligned to 64 bytes (a cache line, and one AVX-512 vector), movable, never
// copied silently.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

namespace fastsynth {

template <class T>
class Buffer {
    static_assert(std::is_trivially_copyable_v<T>, "Buffer holds plain numbers");

  public:
    static constexpr std::size_t alignment = 64;

    Buffer() = default;
    explicit Buffer(std::size_t count) { resize(count); }

    /// Makes room for `count` values, all zero. Keeps the old memory when the size is unchanged.
    void resize(std::size_t count) {
        if (count != count_) {
            data_.reset(count ? allocate(count) : nullptr);
            count_ = count;
        }
        if (count) std::memset(static_cast<void*>(data_.get()), 0, count * sizeof(T));
    }

    T* data() { return data_.get(); }
    const T* data() const { return data_.get(); }
    std::size_t size() const { return count_; }
    bool empty() const { return count_ == 0; }
    T& operator[](std::size_t i) { return data_[i]; }
    const T& operator[](std::size_t i) const { return data_[i]; }
    T* begin() { return data(); }
    T* end() { return data() + count_; }
    const T* begin() const { return data(); }
    const T* end() const { return data() + count_; }

  private:
    struct Free {
        void operator()(T* p) const {
#if defined(_WIN32)
            _aligned_free(p);
#else
            std::free(p);
#endif
        }
    };
    static T* allocate(std::size_t count) {
        // Large buffers ask for huge pages: fewer page faults and address translations (2 % of an
        // evaluation's time).
        constexpr std::size_t huge_page = std::size_t(2) << 20;
        const std::size_t wanted = count * sizeof(T);
        const std::size_t align = wanted >= 2 * huge_page ? huge_page : alignment;
        const std::size_t bytes = (wanted + align - 1) / align * align;
#if defined(_WIN32)
        void* p = _aligned_malloc(bytes, align);
#else
        void* p = std::aligned_alloc(align, bytes);
#endif
        if (!p) throw std::bad_alloc();
#if defined(__linux__)
        if (align == huge_page) madvise(p, bytes, MADV_HUGEPAGE);  // a wish; nothing depends on it
#endif
        return static_cast<T*>(p);
    }
    std::unique_ptr<T[], Free> data_;
    std::size_t count_ = 0;
};

}  // namespace fastsynth
