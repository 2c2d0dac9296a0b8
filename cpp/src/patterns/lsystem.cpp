#include "fastsynth/patterns/lsystem.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "fastsynth/common/error.hpp"
#include "fastsynth/patterns/random.hpp"

namespace fastsynth {

std::string rewrite(const std::string& axiom, const Rules& rules, int steps, std::uint64_t seed,
                    std::size_t limit) {
    std::array<const std::vector<Successor>*, 256> table{};
    std::array<double, 256> totals{};
    for (const auto& [symbol, successors] : rules) {
        require(!successors.empty(), "the symbol ", symbol, " has an empty list of successors");
        const auto at = static_cast<unsigned char>(symbol);
        table[at] = &successors;
        for (const Successor& successor : successors) {
            require(std::isfinite(successor.weight) && successor.weight > 0, "a successor of ",
                    symbol, " has the weight ", successor.weight, "; expected a number above 0");
            totals[at] += successor.weight;
        }
    }
    Random random(seed);
    std::string now = axiom, next;
    for (int step = 0; step < steps; ++step) {
        next.clear();
        for (char symbol : now) {
            const auto at = static_cast<unsigned char>(symbol);
            const auto* successors = table[at];
            if (!successors) {
                next.push_back(symbol);
            } else if (successors->size() == 1) {
                next += successors->front().text;
            } else {
                double place = random.uniform() * totals[at];
                std::size_t k = 0;
                while (k + 1 < successors->size() && place >= (*successors)[k].weight)
                    place -= (*successors)[k++].weight;
                next += (*successors)[k].text;
            }
            require(next.size() <= limit, "after ", step + 1, " of ", steps,
                    " steps the string is longer than ", limit, " symbols; take fewer steps");
        }
        if (next == now) break;
        now.swap(next);
    }
    return now;
}

Drawing follow(const std::string& text, double angle, double heading, const std::string& draw,
               const std::string& move, const std::string& leaves) {
    struct State {
        double x = 0, y = 0;
        std::int64_t turns = 0;   // by `angle`
        std::int64_t halves = 0;  // by half a circle
        double distance = 0;
        std::int64_t parent = -1;  // the stroke that ends here
    };
    std::array<char, 256> action{};
    for (char c : draw) action[static_cast<unsigned char>(c)] = 'd';
    for (char c : move) action[static_cast<unsigned char>(c)] = 'm';
    for (char c : leaves) action[static_cast<unsigned char>(c)] = 'l';
    Drawing out;
    std::vector<std::int64_t> parents;
    std::vector<State> stack;
    State now;
    std::size_t place = 0;
    // Headings from whole numbers of turns: no error adds up over millions of them.
    const auto direction = [&] {
        const double pi = 3.141592653589793;
        return heading + static_cast<double>(now.turns) * angle +
               static_cast<double>(now.halves % 2) * pi;
    };
    for (char symbol : text) {
        ++place;
        switch (symbol) {
            case '+':
                ++now.turns;
                continue;
            case '-':
                --now.turns;
                continue;
            case '|':
                ++now.halves;
                continue;
            case '[':
                stack.push_back(now);
                continue;
            case ']':
                require(!stack.empty(), "symbol ", place, " of the string is a ] without its [");
                now = stack.back();
                stack.pop_back();
                continue;
            default:
                break;
        }
        const char what = action[static_cast<unsigned char>(symbol)];
        if (!what) continue;
        const double to = direction();
        if (what == 'l') {
            out.leaves.push_back({static_cast<float>(now.x), static_cast<float>(now.y),
                                  static_cast<float>(to), static_cast<float>(now.distance)});
            continue;
        }
        const double x = now.x + std::cos(to), y = now.y + std::sin(to);
        if (what == 'd') {
            out.strokes.push_back(
                {static_cast<float>(now.x), static_cast<float>(now.y), static_cast<float>(x),
                 static_cast<float>(y), static_cast<float>(now.distance),
                 static_cast<float>(now.distance + 1), 0, static_cast<std::int32_t>(stack.size())});
            parents.push_back(now.parent);
            now.parent = static_cast<std::int64_t>(out.strokes.size()) - 1;
        }
        now.x = x;
        now.y = y;
        now.distance += 1;
    }
    // Children come after their parents: one pass from the end gives the way to the tips.
    for (std::size_t k = out.strokes.size(); k-- > 0;)
        if (parents[k] >= 0) {
            Stroke& parent = out.strokes[static_cast<std::size_t>(parents[k])];
            parent.tip = std::max(parent.tip, out.strokes[k].tip + 1);
        }
    return out;
}

}  // namespace fastsynth
