#include "triax/kernels/linear.h"

#include "triax/base/error.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/dispatch.h"

namespace triax {
namespace {

void require_matrix(const Context& context, const Argument& argument, int64_t rows, int64_t cols,
                    DType dtype) {
  require(context, argument, {rows, cols}, dtype);
  require_rows(argument);
}

// The compute type of an operation, from its first operand, which must have two axes.
DType compute_type(const Argument& argument) {
  require_compute_type(argument);
  require_rows(argument);
  return argument.tensor.dtype();
}

}  // namespace

void linear_forward(const Context& context, const Tensor& x, const Tensor& weight,
                    const Tensor& bias, const Tensor& y) {
  constexpr auto op = "linear_forward";
  const DType dtype = compute_type({op, "x", x});
  compute_type({op, "weight", weight});
  const int64_t n = x.dim(0), in = x.dim(1), out = weight.dim(0);
  require_matrix(context, {op, "x", x}, n, in, dtype);
  require_matrix(context, {op, "weight", weight}, out, in, dtype);
  require_matrix(context, {op, "y", y}, n, out, dtype);
  if (bias.defined()) require(context, {op, "bias", bias}, {out}, DType::f32);
  dispatch(context, op, cpu::linear_forward, &DeviceOperations::linear_forward, x, weight, bias, y);
}

void linear_activation_forward(const Context& context, const Tensor& x, const Tensor& weight,
                               const Tensor& bias, Activation activation, const Tensor& pre,
                               const Tensor& y) {
  constexpr auto op = "linear_activation_forward";
  const DType dtype = compute_type({op, "x", x});
  compute_type({op, "weight", weight});
  const int64_t n = x.dim(0), in = x.dim(1), out = weight.dim(0);
  require_matrix(context, {op, "x", x}, n, in, dtype);
  require_matrix(context, {op, "weight", weight}, out, in, dtype);
  require_matrix(context, {op, "pre", pre}, n, out, dtype);
  require_matrix(context, {op, "y", y}, n, out, dtype);
  if (bias.defined()) require(context, {op, "bias", bias}, {out}, DType::f32);
  dispatch(context, op, cpu::linear_activation_forward, &DeviceOperations::linear_activation_forward, x, weight, bias, activation, pre, y);
}

void linear_backward_input(const Context& context, const Tensor& dy, const Tensor& weight,
                           const Tensor& dx, bool accumulate) {
  constexpr auto op = "linear_backward_input";
  const DType dtype = compute_type({op, "dy", dy});
  compute_type({op, "weight", weight});
  const int64_t n = dy.dim(0), out = dy.dim(1), in = weight.dim(1);
  require_matrix(context, {op, "dy", dy}, n, out, dtype);
  require_matrix(context, {op, "weight", weight}, out, in, dtype);
  require_matrix(context, {op, "dx", dx}, n, in, dtype);
  dispatch(context, op, cpu::linear_backward_input, &DeviceOperations::linear_backward_input, dy, weight, dx, accumulate);
}

void linear_activation_backward_input(const Context& context, const Tensor& dy,
                                      const Tensor& weight, const Tensor& pre,
                                      Activation activation, const Tensor& dpre) {
  constexpr auto op = "linear_activation_backward_input";
  const DType dtype = compute_type({op, "dy", dy});
  compute_type({op, "weight", weight});
  const int64_t n = dy.dim(0), out = dy.dim(1), in = weight.dim(1);
  require_matrix(context, {op, "dy", dy}, n, out, dtype);
  require_matrix(context, {op, "weight", weight}, out, in, dtype);
  require_matrix(context, {op, "pre", pre}, n, in, dtype);
  require_matrix(context, {op, "dpre", dpre}, n, in, dtype);
  check(dpre.raw() != pre.raw() || n == 0, "{}: dpre must not be pre", op);
  dispatch(context, op, cpu::linear_activation_backward_input, &DeviceOperations::linear_activation_backward_input, dy, weight, pre, activation, dpre);
}

void linear_backward_weight(const Context& context, const Tensor& dy, const Tensor& x,
                            const Tensor& dweight, const Tensor& dbias) {
  constexpr auto op = "linear_backward_weight";
  const DType dtype = compute_type({op, "dy", dy});
  compute_type({op, "x", x});
  const int64_t n = dy.dim(0), out = dy.dim(1), in = x.dim(1);
  require_matrix(context, {op, "dy", dy}, n, out, dtype);
  require_matrix(context, {op, "x", x}, n, in, dtype);
  require_matrix(context, {op, "dweight", dweight}, out, in, DType::f32);
  if (dbias.defined()) require(context, {op, "dbias", dbias}, {out}, DType::f32);
  dispatch(context, op, cpu::linear_backward_weight, &DeviceOperations::linear_backward_weight, dy, x, dweight, dbias);
}

void gemm(const Context& context, bool transpose_a, bool transpose_b, const Tensor& a,
          const Tensor& b, float beta, const Tensor& c) {
  constexpr auto op = "gemm";
  const DType dtype = compute_type({op, "a", a});
  compute_type({op, "b", b});
  const DType out_dtype = compute_type({op, "c", c});
  const int64_t m = c.dim(0), n = c.dim(1), k = a.dim(transpose_a ? 0 : 1);
  require_matrix(context, {op, "a", a}, transpose_a ? k : m, transpose_a ? m : k, dtype);
  require_matrix(context, {op, "b", b}, transpose_b ? n : k, transpose_b ? k : n, dtype);
  require_matrix(context, {op, "c", c}, m, n, out_dtype);
  check(out_dtype == dtype || out_dtype == DType::f32, "{}: c must be f32 or of the type of the operands", op);
  check(beta == 0.0f || beta == 1.0f, "{}: beta must be 0 or 1, not {}", op, beta);
  dispatch(context, op, cpu::gemm, &DeviceOperations::gemm, transpose_a, transpose_b, a, b, beta, c);
}

}  // namespace triax
