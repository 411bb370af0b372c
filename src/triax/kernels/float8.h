// FP8: numbers of 8 bits, whose products GPUs from Ada and Hopper on compute twice as fast as those of 16 bits (Micikevicius et
// al. 2022, "FP8 formats for deep learning"). A matrix is held as codes and one factor: its elements are factor * value(code).
//
// The factor is the power of two that brings the largest finite element as near to the format's largest number as it goes
// without exceeding it ("current" scaling of a whole matrix): multiplying by it is exact, so that an element is rounded to the
// same number whatever other elements the matrix has, but where it is below the format's normal numbers.
#pragma once

#include "triax/base/numbers.h"
#include "triax/kernels/context.h"

namespace triax {

// e4m3: 3 bits of mantissa, up to 448, for activations and weights. e5m2: 2 bits, up to 57344, for gradients.
enum class Float8 { e4m3, e5m2 };

// Columns of a matrix of codes, which are a multiple of 16.
inline int64_t float8_columns(int64_t cols) { return round_up(cols, 16); }

// codes u8 [rows, float8_columns(cols)] = x [rows, cols] of a compute type, or `transpose`d [cols, float8_columns(rows)], rounded
// to nearest even; factor f32 [1]. Codes beyond x are 0. Elements that are not finite become NaN.
void quantize(const Context& context, const Tensor& x, Float8 format, bool transpose, const Tensor& codes, const Tensor& factor);

// Bytes that the operands of each product of a linear layer take in FP8, of n rows, forward and backward: what
// DeviceQueue::float8 must have for it.
size_t float8_bytes(int64_t n, int64_t in, int64_t out);

}  // namespace triax
