// Fused AdamW (Loshchilov & Hutter 2019) on flat ranges of parameters, all of a step in one call.
#pragma once

#include <span>

#include "triax/kernels/context.h"

namespace triax {

struct AdamWStep {
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  int64_t step = 1;          // 1 for the first update: bias correction 1 - beta^step
  float gradient_scale = 1;  // clipping and loss scale, multiplied into each gradient as it is read
  bool stochastic_rounding = false;  // of copies, all of which are bf16 then or of parameters without a place
  uint64_t seed = 0;                 // of that (base/rng.h)
};

// Where a range lies in its parameter, for rounding to depend on nothing else: a parameter is a matrix of `global_width`
// columns, this rank's box has `width` of them from `offset` on, all rows, and the range begins at element `first` of the
// box. width 0: no place, and rounding to nearest.
struct RoundingPlace {
  uint32_t stream = 0;  // of the parameter
  int64_t first = 0, width = 0, global_width = 0, offset = 0;

  constexpr int64_t index(int64_t element) const {
    const int64_t at = first + element;
    return at / width * global_width + offset + at % width;
  }
};

// param, m, v f32 [count] are updated; grad f32 [count] is read. `copy` (f32, bf16 or f16 [count], or undefined) receives the
// updated parameter in the type that kernels read. With grad, m and v undefined the copy is made, and nothing else.
struct AdamWRange {
  float learning_rate = 0, weight_decay = 0;
  Tensor param, grad, m, v, copy;
  RoundingPlace place = {};
};

// On a GPU one launch for 256 ranges.
void adamw_update(const Context& context, const AdamWStep& step, std::span<const AdamWRange> ranges);

}  // namespace triax
