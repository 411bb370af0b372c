// The parameters that a rank owns, as parts of the global tensors: what it writes to files and reads from them.
#pragma once

#include <vector>

#include "triax/checkpoint/region.h"
#include "triax/nn/parameters.h"

namespace triax {

// A stretch of the flat layout inside one parameter, padding rows left out.
struct ParameterPart {
  const ParameterSpec* spec = nullptr;
  int64_t begin = 0, size = 0;  // in the flat layout
  Region region;                // of the global tensor
};

// This rank's share of every parameter: over the data-parallel ranks every element is there once.
std::vector<ParameterPart> shares_of(const Parameters& parameters);
// What it has to be given of every parameter when weights are read: its share, or all where the weights that it updates
// are not sharded.
std::vector<ParameterPart> owned_parts(const Parameters& parameters);

}  // namespace triax
