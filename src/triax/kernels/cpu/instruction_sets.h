// The instruction sets that the vector kernels were built for, for tests and comparisons.
#pragma once

#include <string>
#include <vector>

namespace triax::cpu {

// Those of them that this CPU has, best first: {"AVX3", "AVX2", "Scalar"}.
std::vector<std::string> instruction_sets();
// Kernels called from now on use this one of instruction_sets(); an empty name means the best.
void use_instruction_set(const std::string& name);

}  // namespace triax::cpu
