// Fused AdamW (Loshchilov & Hutter 2019) on flat ranges of parameters, all of a step in one call.
#pragma once

#include <span>

#include "triax/kernels/context.h"

namespace triax {

struct AdamWStep {
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  int64_t step = 1;          // 1 for the first update: bias correction 1 - beta^step
  float gradient_scale = 1;  // clipping and loss scale, multiplied into each gradient as it is read
};

// param, m, v f32 [count] are updated; grad f32 [count] is read. `copy` (f32, bf16 or f16 [count], or undefined) receives the
// updated parameter in the type that kernels read.
struct AdamWRange {
  float learning_rate = 0, weight_decay = 0;
  Tensor param, grad, m, v, copy;
};

// On a GPU one launch for 256 ranges.
void adamw_update(const Context& context, const AdamWStep& step, std::span<const AdamWRange> ranges);

}  // namespace triax
