// Winograd convolutions in float32: F(4×4, 3×3) and F(6×6, 3×3).
#include "winograd_convolve.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {

extern const WinogradKernels winograd4;
const WinogradKernels winograd4 = make_kernels<4, Single>();
extern const WinogradKernels winograd6;
const WinogradKernels winograd6 = make_kernels<6, Single>();

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
