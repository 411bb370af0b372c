// Vector kernels on blocks of rows, for the operations that are made of them. A block is `rows`
// rows of `cols` elements; each operand has its own distance between rows (in elements).
#pragma once

#include "triax/kernels/linear.h"
#include "triax/tensor/dtype.h"

namespace triax::cpu {

template <typename T>
struct Block {
  T* data = nullptr;  // null: an optional operand that is not there
  int64_t stride = 0;
  Block() = default;
  Block(T* pointer, int64_t row_stride) : data(pointer), stride(row_stride) {}
  T* operator[](int64_t row) const { return data + row * stride; }
};

// out[0, cols) += the sums of the columns of x.
void add_columns(const float* x, int64_t stride, int64_t rows, int64_t cols, float* out);
void add_columns(const bf16* x, int64_t stride, int64_t rows, int64_t cols, float* out);
void add_columns(const f16* x, int64_t stride, int64_t rows, int64_t cols, float* out);

// to[0, count) = from[0, count).
void convert_row(const bf16* from, int64_t count, float* to);
void convert_row(const float* from, int64_t count, bf16* to);
void convert_row(const f16* from, int64_t count, float* to);
void convert_row(const float* from, int64_t count, f16* to);

// y = x + bias.
void add_bias(int64_t rows, int64_t cols, Block<const float> x, const float* bias, Block<float> y);
void add_bias(int64_t rows, int64_t cols, Block<const float> x, const float* bias, Block<bf16> y);
void add_bias(int64_t rows, int64_t cols, Block<const float> x, const float* bias, Block<f16> y);

// value = x + bias (bias may be null); pre = value (unless null); y = activation(value). value is
// rounded to the type of pre before the activation, so that the backward pass sees the same.
void activate(Activation kind, int64_t rows, int64_t cols, Block<const float> x, const float* bias,
              Block<float> pre, Block<float> y);
void activate(Activation kind, int64_t rows, int64_t cols, Block<const float> x, const float* bias,
              Block<bf16> pre, Block<bf16> y);
void activate(Activation kind, int64_t rows, int64_t cols, Block<const float> x, const float* bias,
              Block<f16> pre, Block<f16> y);
void activate(Activation kind, int64_t rows, int64_t cols, Block<const bf16> x, const float* bias,
              Block<bf16> pre, Block<bf16> y);
void activate(Activation kind, int64_t rows, int64_t cols, Block<const f16> x, const float* bias,
              Block<f16> pre, Block<f16> y);

// dx = dy * activation'(x).
void activate_backward(Activation kind, int64_t rows, int64_t cols, Block<const float> x,
                       Block<const float> dy, Block<float> dx);
void activate_backward(Activation kind, int64_t rows, int64_t cols, Block<const bf16> x,
                       Block<const float> dy, Block<bf16> dx);
void activate_backward(Activation kind, int64_t rows, int64_t cols, Block<const f16> x,
                       Block<const float> dy, Block<f16> dx);
void activate_backward(Activation kind, int64_t rows, int64_t cols, Block<const bf16> x,
                       Block<const bf16> dy, Block<bf16> dx);
void activate_backward(Activation kind, int64_t rows, int64_t cols, Block<const f16> x,
                       Block<const f16> dy, Block<f16> dx);

}  // namespace triax::cpu
