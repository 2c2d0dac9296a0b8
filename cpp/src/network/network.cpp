#include "fastsynth/network/network.hpp"

namespace fastsynth {
namespace {

/// visit(planar index, index in the map's own layout) for every value.
template <class Visit>
void for_each_value(const FeatureMap& map, Visit visit) {
    const std::size_t positions = map.positions();
    const auto block = static_cast<std::size_t>(map.block);
    for (std::size_t c = 0; c < static_cast<std::size_t>(map.channels); ++c)
        for (std::size_t p = 0; p < positions; ++p)
            visit(c * positions + p, (c / block * positions + p) * block + c % block);
}

}  // namespace

void to_planar(const FeatureMap& map, float* planar) {
    for_each_value(map, [&](std::size_t i, std::size_t j) { planar[i] = map.data[j]; });
}

void add_planar(const float* planar, const FeatureMap& map) {
    for_each_value(map, [&](std::size_t i, std::size_t j) { map.data[j] += planar[i]; });
}

}  // namespace fastsynth
