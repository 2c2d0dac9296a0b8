// Errors on purpose: a build under sanitizers that does not die of them sees nothing
// (scripts/sanitized.py). Linked into such builds alone; called by its name, through ctypes.
#include <climits>
#include <cstddef>
#include <vector>

/// error: 0 reads one element behind a buffer of the core's, 1 one behind the caller's array, 2
/// adds 1 to the largest int. What is read and added is volatile: the compiler can neither foresee
/// nor leave it out.
extern "C" __attribute__((visibility("default"))) double fastsynth_planted(int error,
                                                                           const float* array,
                                                                           std::size_t size) {
    if (error == 0) {
        const std::vector<float> buffer(size);
        const volatile float* first = buffer.data();
        return first[size];
    }
    if (error == 1) {
        const volatile float* first = array;
        return first[size];
    }
    volatile int largest = INT_MAX;
    return largest + 1;
}
