#include "triax/kernels/layernorm.h"

#include "triax/base/error.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/dispatch.h"

namespace triax {

void layernorm_forward(const Context& context, const Tensor& x, const Tensor& gamma,
                       const Tensor& beta, float epsilon, const Tensor& y, const Tensor& mean,
                       const Tensor& rstd) {
  constexpr auto op = "layernorm_forward";
  require_compute_type({op, "x", x});
  require_rows({op, "x", x});
  const int64_t n = x.dim(0), h = x.dim(1);
  require(context, {op, "x", x}, {n, h}, x.dtype());
  require(context, {op, "y", y}, {n, h}, x.dtype());
  require_rows({op, "y", y});
  require(context, {op, "gamma", gamma}, {h}, DType::f32);
  require(context, {op, "beta", beta}, {h}, DType::f32);
  check(mean.defined() == rstd.defined(), "{}: mean and rstd are kept together or not at all", op);
  if (mean.defined()) {
    require(context, {op, "mean", mean}, {n}, DType::f32);
    require(context, {op, "rstd", rstd}, {n}, DType::f32);
  }
  dispatch(context, op, cpu::layernorm_forward, &DeviceOperations::layernorm_forward, x, gamma, beta, epsilon, y, mean, rstd);
}

void layernorm_backward(const Context& context, const Tensor& dy, const Tensor& x,
                        const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                        const Tensor& dx, bool accumulate, const Tensor& dgamma,
                        const Tensor& dbeta) {
  constexpr auto op = "layernorm_backward";
  require_compute_type({op, "dy", dy});
  require_rows({op, "dy", dy});
  const int64_t n = dy.dim(0), h = dy.dim(1);
  require(context, {op, "dy", dy}, {n, h}, dy.dtype());
  require(context, {op, "x", x}, {n, h}, dy.dtype());
  require(context, {op, "dx", dx}, {n, h}, dy.dtype());
  require_rows({op, "x", x});
  require_rows({op, "dx", dx});
  require(context, {op, "gamma", gamma}, {h}, DType::f32);
  require(context, {op, "mean", mean}, {n}, DType::f32);
  require(context, {op, "rstd", rstd}, {n}, DType::f32);
  require(context, {op, "dgamma", dgamma}, {h}, DType::f32);
  require(context, {op, "dbeta", dbeta}, {h}, DType::f32);
  dispatch(context, op, cpu::layernorm_backward, &DeviceOperations::layernorm_backward, dy, x, gamma, mean, rstd, dx, accumulate, dgamma, dbeta);
}

}  // namespace triax
