// Archive: how a state is written down and read back. A class names its state once, in
// `visit(Archive&)`; the same function saves and restores, so that the two cannot drift apart.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fastsynth/common/buffer.hpp"

namespace fastsynth {

class Archive {
  public:
    virtual ~Archive() = default;

    /// True when the values are being restored. A restoring archive throws std::invalid_argument
    /// for a value that is missing or of another kind or size.
    virtual bool restoring() const = 0;

    virtual void number(const std::string& name, double& value) = 0;
    virtual void count(const std::string& name, std::int64_t& value) = 0;
    virtual void flag(const std::string& name, bool& value) = 0;
    /// Saved as it is; restoring throws unless the archive holds the same text.
    virtual void label(const std::string& name, const std::string& text) = 0;
    /// A vector whose size is known beforehand.
    virtual void floats(const std::string& name, Buffer<float>& values) = 0;
    /// A vector of any size.
    virtual void doubles(const std::string& name, std::vector<double>& values) = 0;
};

}  // namespace fastsynth
