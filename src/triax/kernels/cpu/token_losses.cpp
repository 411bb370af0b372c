// A few operations a token: not worth more than plain loops.
#include <cmath>

#include "triax/kernels/cpu/cross_entropy.h"

namespace triax::cpu {

void rescale_sums(const Tensor& from, const Tensor& to, const Tensor& row_sum) {
  const auto sums = row_sum.span<float>();
  for (size_t i = 0; i < sums.size(); ++i) sums[i] *= std::exp(from.data<float>()[i] - to.data<float>()[i]);
}

void token_losses(const Tensor& row_max, const Tensor& row_sum, const Tensor& target_logit, const Tensor& weight,
                  float loss_scale, const Tensor& losses) {
  const auto lse = row_max.span<float>(), sums = row_sum.span<float>();
  for (size_t i = 0; i < lse.size(); ++i) {
    lse[i] += std::log(sums[i]);
    losses.data<float>()[i] = lse[i] - target_logit.data<float>()[i];
    sums[i] = weight.data<float>()[i] * loss_scale;
  }
}

double weighted_sum(const Tensor& weights, const Tensor& values) {
  double sum = 0;
  const auto all = values.span<float>();
  for (size_t i = 0; i < all.size(); ++i)
    if (const float weight = weights.data<float>()[i]; weight != 0) sum += static_cast<double>(weight) * static_cast<double>(all[i]);
  return sum;
}

}  // namespace triax::cpu
