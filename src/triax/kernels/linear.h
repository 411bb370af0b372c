// Matrix products of a linear layer  y = x W^T + bias,  W [out, in] row-major.
//
// Element types: x, weight, y, dy, dx share one compute type (f32, bf16, f16); bias, dweight and dbias
// are f32. Sums are accumulated in f32. Rows of activations may be strided (stride(0) >= columns), so
// that slices of wider tensors work.
#pragma once

#include "triax/kernels/context.h"

namespace triax {

enum class Activation { gelu_tanh, gelu_erf };

// y [n, out] = x [n, in] W^T (+ bias [out] if defined)
void linear_forward(const Context& context, const Tensor& x, const Tensor& weight,
                    const Tensor& bias, const Tensor& y);

// pre [n, out] = x W^T + bias;  y = activation(pre)
void linear_activation_forward(const Context& context, const Tensor& x, const Tensor& weight,
                               const Tensor& bias, Activation activation, const Tensor& pre,
                               const Tensor& y);

// dx [n, in] (= or +=) dy [n, out] W
void linear_backward_input(const Context& context, const Tensor& dy, const Tensor& weight,
                           const Tensor& dx, bool accumulate = false);

// dpre [n, in] = (dy [n, out] W) * activation'(pre [n, in])
void linear_activation_backward_input(const Context& context, const Tensor& dy,
                                      const Tensor& weight, const Tensor& pre,
                                      Activation activation, const Tensor& dpre);

// dweight [out, in] += dy^T x;  dbias [out] += column sums of dy (if defined)
void linear_backward_weight(const Context& context, const Tensor& dy, const Tensor& x,
                            const Tensor& dweight, const Tensor& dbias);

// c [m, n] = a [m, k] b [k, n] + beta c with either operand given transposed; c is of their type or f32,
// `beta` 0 or 1. What everything above is made of, and what `triax info` measures the peak with.
void gemm(const Context& context, bool transpose_a, bool transpose_b, const Tensor& a,
          const Tensor& b, float beta, const Tensor& c);

}  // namespace triax
