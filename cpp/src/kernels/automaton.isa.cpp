// AutomatonKernels: see patterns/automaton_kernels.hpp. Plain loops over words, which the compiler
// vectorises.
#include "patterns/automaton_kernels.hpp"

namespace fastsynth {
namespace FASTSYNTH_KERNEL_SET {
namespace {

using Word = std::uint64_t;

void elementary(int rule, const Word* __restrict row, Word* __restrict next, std::size_t words) {
    // Each of the rule's eight bits as a word of zeros or ones: next = Σ over neighbourhoods
    // (binary decision by l, then c, then r).
    Word on[8];
    for (int i = 0; i < 8; ++i) on[i] = rule >> i & 1 ? ~Word{0} : Word{0};
    for (std::size_t i = 0; i < words; ++i) {
        const Word center = row[i];
        const Word left = center << 1 | row[static_cast<std::ptrdiff_t>(i) - 1] >> 63;
        const Word right = center >> 1 | row[i + 1] << 63;
        const auto pick = [](Word which, Word one, Word zero) {
            return (which & one) | (~which & zero);
        };
        const Word high = pick(center, pick(right, on[7], on[6]), pick(right, on[5], on[4]));
        const Word low = pick(center, pick(right, on[3], on[2]), pick(right, on[1], on[0]));
        next[i] = pick(left, high, low);
    }
}

void life(const Word* __restrict above, const Word* __restrict row, const Word* __restrict below,
          std::uint32_t birth, std::uint32_t survival, Word* __restrict next, Word* __restrict ages,
          std::size_t words) {
    Word born[9], stays[9];
    for (int i = 0; i < 9; ++i) {
        born[i] = birth >> i & 1 ? ~Word{0} : Word{0};
        stays[i] = survival >> i & 1 ? ~Word{0} : Word{0};
    }
    for (std::size_t i = 0; i < words; ++i) {
        const auto west = [i](const Word* line) {
            return line[i] << 1 | line[static_cast<std::ptrdiff_t>(i) - 1] >> 63;
        };
        const auto east = [i](const Word* line) { return line[i] >> 1 | line[i + 1] << 63; };
        const Word aw = west(above), ac = above[i], ae = east(above);
        const Word rw = west(row), alive = row[i], re = east(row);
        const Word bw = west(below), bc = below[i], be = east(below);
        // Sums of three as two bits each (full adders), then the sum of all, of four bits.
        const Word a1 = aw ^ ac ^ ae, a2 = (aw & ac) | (ae & (aw ^ ac));
        const Word b1 = bw ^ bc ^ be, b2 = (bw & bc) | (be & (bw ^ bc));
        const Word r1 = rw ^ re, r2 = rw & re;
        const Word n1 = a1 ^ b1 ^ r1, c2 = (a1 & b1) | (r1 & (a1 ^ b1));
        const Word s = a2 ^ b2 ^ r2, c4 = (a2 & b2) | (r2 & (a2 ^ b2));
        const Word n2 = s ^ c2, d4 = s & c2;
        const Word n4 = c4 ^ d4, n8 = c4 & d4;
        const Word low[4] = {~n1 & ~n2, n1 & ~n2, ~n1 & n2, n1 & n2};
        Word out = n8 & ((alive & stays[8]) | (~alive & born[8]));
        for (int n = 0; n < 8; ++n) {
            const Word here = low[n & 3] & (n & 4 ? n4 : ~n4) & ~n8;
            out |= here & ((alive & stays[n]) | (~alive & born[n]));
        }
        next[i] = out;
        // The counter: add one with carry, hold at 255, clear where the cell changed.
        const Word same = ~(out ^ alive);
        Word full = ~Word{0};
        for (std::size_t p = 0; p < 8; ++p) full &= ages[p * words + i];
        Word carry = ~full;
        for (std::size_t p = 0; p < 8; ++p) {
            const Word plane = ages[p * words + i];
            ages[p * words + i] = (plane ^ carry) & same;
            carry &= plane;
        }
    }
}

}  // namespace

extern const AutomatonKernels automaton_table;
const AutomatonKernels automaton_table{elementary, life};

}  // namespace FASTSYNTH_KERNEL_SET
}  // namespace fastsynth
