#include "triax/kernels/elementwise.h"

#include "triax/base/error.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/dispatch.h"

namespace triax {
namespace {

// `tensor` has the shape and type of `like` and can be walked: contiguous, or rows of rank 2.
void require_like(const Context& context, const Argument& argument, const Tensor& like) {
  require(context, argument, like.shape(), like.dtype());
  if (!argument.tensor.is_contiguous()) require_rows(argument);
}

void require_dropout(std::string_view op, const Dropout& dropout) {
  check(dropout.probability >= 0.0f && dropout.probability < 1.0f,
        "{}: the dropout probability must be in [0, 1), not {}", op, dropout.probability);
}

}  // namespace

void activation_forward(const Context& context, Activation activation, const Tensor& x,
                        const Tensor& y) {
  constexpr auto op = "activation_forward";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  require_like(context, {op, "y", y}, x);
  dispatch(context, op, cpu::activation_forward, &DeviceOperations::activation_forward, activation, x, y);
}

void activation_backward(const Context& context, Activation activation, const Tensor& x,
                         const Tensor& dy, const Tensor& dx) {
  constexpr auto op = "activation_backward";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  require_like(context, {op, "dy", dy}, x);
  require_like(context, {op, "dx", dx}, x);
  dispatch(context, op, cpu::activation_backward, &DeviceOperations::activation_backward, activation, x, dy, dx);
}

void tanh_forward(const Context& context, const Tensor& x, const Tensor& y) {
  constexpr auto op = "tanh_forward";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  require_like(context, {op, "y", y}, x);
  dispatch(context, op, cpu::tanh_forward, &DeviceOperations::tanh_forward, x, y);
}

void tanh_backward(const Context& context, const Tensor& y, const Tensor& dy, const Tensor& dx) {
  constexpr auto op = "tanh_backward";
  require_compute_type({op, "y", y});
  require_like(context, {op, "y", y}, y);
  require_like(context, {op, "dy", dy}, y);
  require_like(context, {op, "dx", dx}, y);
  dispatch(context, op, cpu::tanh_backward, &DeviceOperations::tanh_backward, y, dy, dx);
}

void bias_dropout_residual_forward(const Context& context, const Tensor& x, const Tensor& bias,
                                   const Tensor& residual, const Dropout& dropout,
                                   const Tensor& out) {
  constexpr auto op = "bias_dropout_residual_forward";
  require_compute_type({op, "x", x});
  require_rows({op, "x", x});
  require_like(context, {op, "x", x}, x);
  require_like(context, {op, "out", out}, x);
  if (bias.defined()) require(context, {op, "bias", bias}, {x.dim(1)}, DType::f32);
  if (residual.defined()) require_like(context, {op, "residual", residual}, x);
  require_dropout(op, dropout);
  dispatch(context, op, cpu::bias_dropout_residual_forward, &DeviceOperations::bias_dropout_residual_forward, x, bias, residual, dropout, out);
}

void bias_dropout_residual_backward(const Context& context, const Tensor& dout,
                                    const Dropout& dropout, const Tensor& dx, const Tensor& dbias) {
  constexpr auto op = "bias_dropout_residual_backward";
  require_compute_type({op, "dout", dout});
  require_rows({op, "dout", dout});
  require_like(context, {op, "dout", dout}, dout);
  require_dropout(op, dropout);
  check(dx.defined() || !dropout.active(), "{}: dx must be given when dropout is on", op);
  if (dx.defined()) require_like(context, {op, "dx", dx}, dout);
  if (dbias.defined()) require(context, {op, "dbias", dbias}, {dout.dim(1)}, DType::f32);
  dispatch(context, op, cpu::bias_dropout_residual_backward, &DeviceOperations::bias_dropout_residual_backward, dout, dropout, dx, dbias);
}

void convert(const Context& context, const Tensor& src, const Tensor& dst) {
  constexpr auto op = "convert";
  require_compute_type({op, "src", src});
  require_compute_type({op, "dst", dst});
  require(context, {op, "src", src}, src.shape(), src.dtype());
  require(context, {op, "dst", dst}, src.shape(), dst.dtype());
  if (!src.is_contiguous()) require_rows({op, "src", src});
  if (!dst.is_contiguous()) require_rows({op, "dst", dst});
  dispatch(context, op, cpu::convert, &DeviceOperations::convert, src, dst);
}

void fill(const Context& context, const Tensor& x, float value) {
  constexpr auto op = "fill";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  dispatch(context, op, cpu::fill, &DeviceOperations::fill, x, value);
}

void add_scaled(const Context& context, float alpha, const Tensor& x, const Tensor& y) {
  constexpr auto op = "add_scaled";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  require_like(context, {op, "y", y}, x);
  dispatch(context, op, cpu::add_scaled, &DeviceOperations::add_scaled, alpha, x, y);
}

void scale(const Context& context, float alpha, const Tensor& x) {
  constexpr auto op = "scale";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  dispatch(context, op, cpu::scale, &DeviceOperations::scale, alpha, x);
}

double sum_of_squares(const Context& context, const Tensor& x) {
  constexpr auto op = "sum_of_squares";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  return dispatch(context, op, cpu::sum_of_squares, &DeviceOperations::sum_of_squares, x);
}

void sums_of_squares(const Context& context, std::span<const Tensor> xs, std::span<double> sums) {
  constexpr auto op = "sums_of_squares";
  check(xs.size() == sums.size(), "{}: {} tensors and {} sums", op, xs.size(), sums.size());
  for (const Tensor& x : xs) {
    require_compute_type({op, "xs", x});
    require_like(context, {op, "xs", x}, x);
  }
  dispatch(context, op, cpu::sums_of_squares, &DeviceOperations::sums_of_squares, xs, sums);
}

}  // namespace triax
