// Argument checks of the core. The core never prints and never aborts: it throws.
//
//   std::invalid_argument  a caller's mistake (shapes, ranges); Python turns it into ValueError
//   DivergenceError        a loss or gradient that is not finite; Python turns it into its own
//                          fastsynth.DivergenceError
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace fastsynth {

struct DivergenceError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Throws std::invalid_argument with all parts joined into one message unless `condition` holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
    if (condition) return;
    std::ostringstream text;
    (text << ... << parts);
    throw std::invalid_argument(text.str());
}

}  // namespace fastsynth
