// What operations demand of their arguments, as errors that name the operation and the argument.
#pragma once

#include <string_view>

#include "triax/kernels/context.h"

namespace triax {

// One argument of one operation, for messages: {"layernorm_forward", "gamma", gamma}.
struct Argument {
  std::string_view operation, name;
  const Tensor& tensor;
};

// Defined, on the context's device, with exactly this shape and element type.
void require(const Context& context, const Argument& argument, Shape shape, DType dtype);
void require_contiguous(const Argument& argument);
// Rank 2, elements of a row adjacent, rows apart by stride(0) >= columns.
void require_rows(const Argument& argument);
// f32, bf16 or f16.
void require_compute_type(const Argument& argument);

// Throws: the operation has no implementation for the context's device in this build.
[[noreturn]] void fail_no_device(const Context& context, std::string_view operation);

}  // namespace triax
