// L-systems: strings that are rewritten in parallel (Lindenmayer 1968), and the turtle that draws
// them (Prusinkiewicz & Lindenmayer, The Algorithmic Beauty of Plants, 1990).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fastsynth {

struct Successor {
    std::string text;
    double weight = 1;  // chance among the successors of one symbol
};

/// Each symbol's successors; symbols without any stay as they are.
using Rules = std::map<char, std::vector<Successor>>;

/// Rewrites the axiom `steps` times. Where a symbol has several successors, the choice is random by
/// `seed`. Throws std::invalid_argument when the string would grow beyond `limit` symbols.
std::string rewrite(const std::string& axiom, const Rules& rules, int steps, std::uint64_t seed,
                    std::size_t limit);

struct Stroke {
    float x0, y0, x1, y1;
    float start, end;    // distance from the root along the branch, in steps
    float tip;           // longest way from the stroke's end to a tip beyond it, in steps
    std::int32_t level;  // number of brackets that are open
};

struct Leaf {
    float x, y;      // where it is attached
    float angle;     // radians, counter-clockwise from the x axis
    float distance;  // from the root, in steps
};

struct Drawing {
    std::vector<Stroke> strokes;
    std::vector<Leaf> leaves;
};

/// Follows the commands of `text` with steps of length 1, y up:
///   symbols of `draw`: forward with a line; of `move`: forward without; of `leaves`: a leaf
///   + - turn left and right by `angle` (radians); | turn round; [ ] remember and go back to place
///   and heading; others mean nothing.
/// heading: at the start. Throws std::invalid_argument for a ] without [.
Drawing follow(const std::string& text, double angle, double heading, const std::string& draw,
               const std::string& move, const std::string& leaves);

}  // namespace fastsynth
