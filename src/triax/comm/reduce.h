// The arithmetic of reductions, the same for every way of moving the numbers.
#pragma once

#include <cstddef>
#include <span>

#include "triax/comm/communicator.h"

namespace triax {

// Throws Error if there is no reduction of this element type.
void check_reducible(DType dtype);

// result[i] <- source[0][i] op source[1][i] op ..., from left to right, for `count` elements. bf16 and
// f16 are accumulated in f32 and rounded once; with max and min a NaN wins. `result` may be one of the
// sources, and otherwise overlaps none.
void reduce_in_order(std::span<const void* const> sources, void* result, size_t count, DType dtype, ReduceOp op);

}  // namespace triax
