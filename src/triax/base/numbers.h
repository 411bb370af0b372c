// Arithmetic of whole numbers.
#pragma once

#include <cstdint>

namespace triax {

// The least multiple of `multiple` that is not below value; both from 0, multiple not 0.
constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace triax
