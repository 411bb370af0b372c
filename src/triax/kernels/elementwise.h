// Operations that touch each element once: activation, dropout, residual, casts and sums.
// Activations are f32, bf16 or f16 (one compute type per call); parameters and gradients are f32.
#pragma once

#include <span>

#include "triax/base/rng.h"
#include "triax/kernels/linear.h"

namespace triax {

// y = activation(x); y may be x.
void activation_forward(const Context& context, Activation activation, const Tensor& x,
                        const Tensor& y);
// dx = dy * activation'(x); dx may be dy.
void activation_backward(const Context& context, Activation activation, const Tensor& x,
                         const Tensor& dy, const Tensor& dx);

// y = tanh(x); y may be x.
void tanh_forward(const Context& context, const Tensor& x, const Tensor& y);
// dx = dy * (1 - y^2), of y = tanh(x); dx may be dy.
void tanh_backward(const Context& context, const Tensor& y, const Tensor& dy, const Tensor& dx);

// out [n, h] = residual + dropout(x + bias). bias [h] and residual [n, h] may be undefined (zero);
// out may be x or residual.
void bias_dropout_residual_forward(const Context& context, const Tensor& x, const Tensor& bias,
                                   const Tensor& residual, const Dropout& dropout,
                                   const Tensor& out);
// dx [n, h] = dout * mask * scale; dbias [h] += column sums of dx (if defined). dx may be dout; it
// may be undefined only when dropout is off (then dx would be dout). The gradient of the residual is
// dout itself.
void bias_dropout_residual_backward(const Context& context, const Tensor& dout,
                                    const Dropout& dropout, const Tensor& dx, const Tensor& dbias);

// dst = src with a change of element type among f32, bf16, f16.
void convert(const Context& context, const Tensor& src, const Tensor& dst);
void fill(const Context& context, const Tensor& x, float value);
// y += alpha * x, both of one compute type.
void add_scaled(const Context& context, float alpha, const Tensor& x, const Tensor& y);
// x *= alpha.
void scale(const Context& context, float alpha, const Tensor& x);

// Sum of squares of a tensor of a compute type, accumulated in double in a fixed order: the same bits on
// any number of threads. NaN or Inf in x gives a result that is not finite.
double sum_of_squares(const Context& context, const Tensor& x);
// The same of many tensors; a GPU is waited for once.
void sums_of_squares(const Context& context, std::span<const Tensor> xs, std::span<double> sums);

}  // namespace triax
