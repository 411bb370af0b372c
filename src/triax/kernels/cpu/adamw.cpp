#include <cmath>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/ops.h"

namespace triax::cpu {

void adamw_update(const AdamWStep& step, const Tensor& param, const Tensor& grad, const Tensor& m,
                  const Tensor& v, const Tensor& copy) {
  float *p = param.data<float>(), *m1 = m.data<float>(), *m2 = v.data<float>();
  const float* g = grad.data<float>();
  const double correction1 = 1 - std::pow(double{step.beta1}, static_cast<double>(step.step));
  const double correction2 = 1 - std::pow(double{step.beta2}, static_cast<double>(step.step));
  const auto rate = static_cast<float>(step.learning_rate / correction1);
  const auto root = static_cast<float>(1 / std::sqrt(correction2));
  const float keep = 1 - step.learning_rate * step.weight_decay;
  parallel_for(param.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float gi = g[i] * step.gradient_scale;
      m1[i] = step.beta1 * m1[i] + (1 - step.beta1) * gi;
      m2[i] = step.beta2 * m2[i] + (1 - step.beta2) * gi * gi;
      p[i] = p[i] * keep - rate * m1[i] / (std::sqrt(m2[i]) * root + step.epsilon);
      if (!copy.defined()) continue;
      if (copy.dtype() == DType::bf16) {
        copy.data<bf16>()[i] = bf16(p[i]);
      } else {
        copy.data<f16>()[i] = f16(p[i]);
      }
    }
  });
}

}  // namespace triax::cpu
