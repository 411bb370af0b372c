// Layer normalisation over the last axis (Ba et al. 2016). x, y, dy, dx share one compute type (f32,
// bf16, f16); gamma, beta, their gradients and the statistics are f32.
#pragma once

#include "triax/kernels/context.h"

namespace triax {

// y [n, h] = (x - mean) * rstd * gamma + beta. mean and rstd [n] are kept for backward; both may be
// undefined when there is none.
void layernorm_forward(const Context& context, const Tensor& x, const Tensor& gamma,
                       const Tensor& beta, float epsilon, const Tensor& y, const Tensor& mean,
                       const Tensor& rstd);

// dx [n, h] (= or +=) gradient; dgamma, dbeta [h] += theirs. dx may be dy.
void layernorm_backward(const Context& context, const Tensor& dy, const Tensor& x,
                        const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                        const Tensor& dx, bool accumulate, const Tensor& dgamma,
                        const Tensor& dbeta);

}  // namespace triax
