// PlanarKernels: see network/planar.hpp. Pixels of a window lie side by side in a row, so two
// vectors of a row are taken apart into left and right pixels, and put together again.
#include "fastsynth/network/planar.hpp"

#include <utility>

#include "kernels/bits.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

using Lanes = std::make_integer_sequence<int, lanes>;

/// Every second lane of a and b, from `first` (0 or 1) on.
template <int first, int... I>
inline Floats every_second(Floats a, Floats b, std::integer_sequence<int, I...>) {
    return shuffle<(first + 2 * I)...>(a, b);
}
/// Lanes of a and b by turns, from lane `first` on.
template <int first, int... I>
inline Floats by_turns(Floats a, Floats b, std::integer_sequence<int, I...>) {
    return shuffle<(first + I / 2 + I % 2 * lanes)...>(a, b);
}
inline Floats even(Floats a, Floats b) { return every_second<0>(a, b, Lanes{}); }
inline Floats odd(Floats a, Floats b) { return every_second<1>(a, b, Lanes{}); }
inline Floats low(Floats a, Floats b) { return by_turns<0>(a, b, Lanes{}); }
inline Floats high(Floats a, Floats b) { return by_turns<lanes / 2>(a, b, Lanes{}); }

typedef std::uint8_t Bytes __attribute__((vector_size(lanes)));

/// The left and right pixels of `lanes` windows.
struct Pair {
    Floats left, right;
};
inline Pair take_apart(const float* row) {
    const Floats a = load(row), b = load(row + lanes);
    return {even(a, b), odd(a, b)};
}
inline Floats keep_where(Ints truth, Floats v) {
    return reinterpret_cast<Floats>(truth & reinterpret_cast<Ints>(v));
}

/// One window; a NaN is pooled as NaN wherever it lies and routes nothing.
struct Window {
    float value;
    std::uint8_t route;
};
inline Window pool_one(float a, float b, float c, float d, bool average) {
    if (average)
        return {0.25f * ((a + b) + (c + d)),
                static_cast<std::uint8_t>((a > 0) | (b > 0) << 1 | (c > 0) << 2 | (d > 0) << 3)};
    const float top = a > b || a != a ? a : b, bottom = c > d || c != c ? c : d;
    const float value = top > bottom || top != top ? top : bottom;
    const int winner = a == value ? 1 : b == value ? 2 : c == value ? 4 : 8;
    return {value, static_cast<std::uint8_t>(value > 0 ? winner : 0)};
}

void pool(const float* top, const float* bottom, std::size_t windows, bool average, float* pooled,
          std::uint8_t* routes) {
    std::size_t i = 0;
    for (; i + lanes <= windows; i += lanes) {
        const Pair up = take_apart(top + 2 * i), down = take_apart(bottom + 2 * i);
        Floats value;
        Ints route;
        if (average) {
            value = 0.25f * ((up.left + up.right) + (down.left + down.right));
            route = ((up.left > 0.0f) & 1) | ((up.right > 0.0f) & 2) | ((down.left > 0.0f) & 4) |
                    ((down.right > 0.0f) & 8);
        } else {
            const auto larger = [](Floats a, Floats b) {
                return ((a > b) | (a != a)) ? a : b;  // NaN stays NaN
            };
            value = larger(larger(up.left, up.right), larger(down.left, down.right));
            const Ints first = up.left == value, second = (up.right == value) & ~first;
            const Ints third = (down.left == value) & ~(first | second);
            route = (first & 1) | (second & 2) | (third & 4) | (~(first | second | third) & 8);
            route &= value > 0.0f;
        }
        store(pooled + i, value);
        const Bytes bytes = __builtin_convertvector(route, Bytes);
        std::memcpy(routes + i, &bytes, sizeof bytes);
    }
    for (; i < windows; ++i) {
        const Window window =
            pool_one(top[2 * i], top[2 * i + 1], bottom[2 * i], bottom[2 * i + 1], average);
        pooled[i] = window.value;
        routes[i] = window.route;
    }
}

template <bool replace>
void put(float* p, Floats v) {
    store(p, replace ? v : load(p) + v);
}

template <bool replace>
void unpool_as(const float* pooled, const std::uint8_t* routes, std::size_t windows, float scale,
               float* top, float* bottom) {
    std::size_t i = 0;
    for (; i + lanes <= windows; i += lanes) {
        const Floats value = load(pooled + i) * scale;
        Bytes bytes;
        std::memcpy(&bytes, routes + i, sizeof bytes);
        const Ints route = __builtin_convertvector(bytes, Ints);
        Floats parts[4];
        for (int part = 0; part < 4; ++part)
            parts[part] = keep_where((route & (1 << part)) != 0, value);
        put<replace>(top + 2 * i, low(parts[0], parts[1]));
        put<replace>(top + 2 * i + lanes, high(parts[0], parts[1]));
        put<replace>(bottom + 2 * i, low(parts[2], parts[3]));
        put<replace>(bottom + 2 * i + lanes, high(parts[2], parts[3]));
    }
    for (; i < windows; ++i)
        for (std::size_t part = 0; part < 4; ++part) {
            float& to = (part < 2 ? top : bottom)[2 * i + part % 2];
            const float value = routes[i] >> part & 1 ? scale * pooled[i] : 0.0f;
            to = replace ? value : to + value;
        }
}

void unpool(const float* pooled, const std::uint8_t* routes, std::size_t windows, float scale,
            float* top, float* bottom, bool replace) {
    (replace ? unpool_as<true> : unpool_as<false>)(pooled, routes, windows, scale, top, bottom);
}

void mask(const float* feature, float* gradient, std::size_t count) {
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes)
        store(gradient + i, keep_where(load(feature + i) > 0.0f, load(gradient + i)));
    for (; i < count; ++i)
        if (!(feature[i] > 0.0f)) gradient[i] = 0.0f;
}

}  // namespace

extern const PlanarKernels planar_table;
const PlanarKernels planar_table = {pool, unpool, mask};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
