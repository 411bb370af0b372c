#include "triax/kernels/elementwise.h"

#include "triax/base/error.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cpu/ops.h"

namespace triax {
namespace {

bool on_cpu(const Context& context, std::string_view operation) {
  if (context.device.kind == Device::Kind::cpu) return true;
  fail_no_device(context, operation);
}

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
  if (on_cpu(context, op)) cpu::activation_forward(activation, x, y);
}

void activation_backward(const Context& context, Activation activation, const Tensor& x,
                         const Tensor& dy, const Tensor& dx) {
  constexpr auto op = "activation_backward";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  require_like(context, {op, "dy", dy}, x);
  require_like(context, {op, "dx", dx}, x);
  if (on_cpu(context, op)) cpu::activation_backward(activation, x, dy, dx);
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
  if (on_cpu(context, op)) cpu::bias_dropout_residual_forward(x, bias, residual, dropout, out);
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
  if (on_cpu(context, op)) cpu::bias_dropout_residual_backward(dout, dropout, dx, dbias);
}

void convert(const Context& context, const Tensor& src, const Tensor& dst) {
  constexpr auto op = "convert";
  require_compute_type({op, "src", src});
  require_compute_type({op, "dst", dst});
  require(context, {op, "src", src}, src.shape(), src.dtype());
  require(context, {op, "dst", dst}, src.shape(), dst.dtype());
  if (!src.is_contiguous()) require_rows({op, "src", src});
  if (!dst.is_contiguous()) require_rows({op, "dst", dst});
  if (on_cpu(context, op)) cpu::convert(src, dst);
}

void fill(const Context& context, const Tensor& x, float value) {
  constexpr auto op = "fill";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  if (on_cpu(context, op)) cpu::fill(x, value);
}

void add_scaled(const Context& context, float alpha, const Tensor& x, const Tensor& y) {
  constexpr auto op = "add_scaled";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  require_like(context, {op, "y", y}, x);
  if (on_cpu(context, op)) cpu::add_scaled(alpha, x, y);
}

void scale(const Context& context, float alpha, const Tensor& x) {
  constexpr auto op = "scale";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  if (on_cpu(context, op)) cpu::scale(alpha, x);
}

double sum_of_squares(const Context& context, const Tensor& x) {
  constexpr auto op = "sum_of_squares";
  require_compute_type({op, "x", x});
  require_like(context, {op, "x", x}, x);
  return on_cpu(context, op) ? cpu::sum_of_squares(x) : 0;
}

}  // namespace triax
