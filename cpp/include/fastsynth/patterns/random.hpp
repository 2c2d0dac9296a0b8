// Random numbers of the patterns: SplitMix64 (Steele, Lea, Flood 2014), the same on every machine.
#pragma once

#include <cstdint>

namespace fastsynth {

class Random {
  public:
    /// Streams of one seed are independent of one another.
    explicit Random(std::uint64_t seed, std::uint64_t stream = 0)
        : state_(mixed(seed + 0x9e3779b97f4a7c15u) ^ mixed(stream * 0xd1b54a32d192ed03u + 1)) {}

    std::uint64_t bits() { return mixed(state_ += 0x9e3779b97f4a7c15u); }

    /// In [0, 1), 53 bits.
    double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

  private:
    static std::uint64_t mixed(std::uint64_t z) {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }

    std::uint64_t state_;
};

}  // namespace fastsynth
