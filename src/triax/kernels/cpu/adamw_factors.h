// One step of AdamW as its inner loop wants it, on any device.
#pragma once

#include <cmath>

#include "triax/kernels/adamw.h"

namespace triax::cpu {

struct AdamWFactors {
  float beta1, beta2;
  float grad1, grad2;  // (1 - beta1) and (1 - beta2), for the gradient and its square
  float gradient_scale;
  float keep;  // 1 - learning rate * weight decay
  float rate;  // learning rate / (1 - beta1^t)
  float root;  // 1 / sqrt(1 - beta2^t)
  float epsilon;
};

inline AdamWFactors adamw_factors(const AdamWStep& step, const AdamWRange& range) {
  const double beta1 = step.beta1, beta2 = step.beta2, rate = range.learning_rate;
  const auto t = static_cast<double>(step.step);
  return {.beta1 = step.beta1,
          .beta2 = step.beta2,
          .grad1 = static_cast<float>(1 - beta1),
          .grad2 = static_cast<float>(1 - beta2),
          .gradient_scale = step.gradient_scale,
          .keep = static_cast<float>(1 - rate * static_cast<double>(range.weight_decay)),
          .rate = static_cast<float>(rate / (1 - std::pow(beta1, t))),
          .root = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, t))),
          .epsilon = step.epsilon};
}

}  // namespace triax::cpu
