// Fused AdamW (Loshchilov & Hutter 2019) on a flat range of parameters.
#pragma once

#include "triax/kernels/context.h"

namespace triax {

struct AdamWStep {
  float learning_rate = 0, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, weight_decay = 0;
  int64_t step = 1;         // 1 for the first update: bias correction 1 - beta^step
  float gradient_scale = 1;  // clipping and loss scale, multiplied into each gradient as it is read
};

// param, m, v f32 [count] are updated; grad f32 [count] is read. `copy` (bf16 or f16 [count], or
// undefined) receives the updated parameter in the compute type.
void adamw_update(const Context& context, const AdamWStep& step, const Tensor& param,
                  const Tensor& grad, const Tensor& m, const Tensor& v, const Tensor& copy);

}  // namespace triax
