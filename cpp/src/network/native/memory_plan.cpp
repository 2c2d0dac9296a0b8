#include "network/native/memory_plan.hpp"

#include <algorithm>
#include <iterator>

namespace fastsynth {

void MemoryPlan::add(std::size_t floats, int first, int last, float*& place) {
    constexpr std::size_t line = Buffer<float>::alignment / sizeof(float);
    arrays_.push_back({(floats + line - 1) / line * line, first, last, &place, 0});
}

std::size_t MemoryPlan::lowest_offset(const Array& array, std::vector<Array>::iterator placed) {
    std::vector<Array> others;  // in use at the same time
    std::copy_if(arrays_.begin(), placed, std::back_inserter(others), [&](const Array& other) {
        return other.first <= array.last && array.first <= other.last;
    });
    std::sort(others.begin(), others.end(),
              [](const Array& a, const Array& b) { return a.offset < b.offset; });
    std::size_t offset = 0;
    for (const Array& other : others) {
        if (offset + array.floats <= other.offset) break;
        offset = std::max(offset, other.offset + other.floats);
    }
    return offset;
}

void MemoryPlan::arrange() {
    std::stable_sort(arrays_.begin(), arrays_.end(), [](const Array& a, const Array& b) {
        return a.floats != b.floats ? a.floats > b.floats : a.first < b.first;
    });
    total_ = 0;
    for (auto array = arrays_.begin(); array != arrays_.end(); ++array) {
        array->offset = lowest_offset(*array, array);
        total_ = std::max(total_, array->offset + array->floats);
    }
}

void MemoryPlan::allocate() {
    memory_.resize(total_);
    for (const Array& array : arrays_) *array.place = memory_.data() + array.offset;
}

}  // namespace fastsynth
