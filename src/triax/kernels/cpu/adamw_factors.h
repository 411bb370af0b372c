// One step of AdamW as its inner loop wants it.
#pragma once

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

}  // namespace triax::cpu
