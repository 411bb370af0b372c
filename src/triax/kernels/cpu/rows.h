// Walking tensors as rows, whatever their rank and stride.
#pragma once

#include <algorithm>

#include "triax/base/error.h"
#include "triax/tensor/tensor.h"

namespace triax::cpu {

// A matrix in memory: element (i, j) is data[i * stride + j].
template <typename T>
struct Rows {
  T* data;
  int64_t stride;
  T* operator[](int64_t row) const { return data + row * stride; }
};

template <typename T>
Rows<T> rows_of(const Tensor& tensor) {
  if (!tensor.defined()) return {nullptr, 0};
  return {tensor.data<T>(), tensor.rank() == 2 ? tensor.stride(0) : tensor.shape()[-1]};
}

// Calls f(T{}) with the C++ type of a compute type.
template <typename F>
decltype(auto) with_compute_type(DType dtype, F&& f) {
  if (dtype == DType::f32) return f(float{});
  check(dtype == DType::bf16, "no kernel computes in {}", name_of(dtype));
  return f(bf16{});
}

// Rows a piece of parallel work should have: about 64 Ki elements, whatever the number of threads.
inline int64_t row_grain(int64_t columns) {
  return std::max<int64_t>(1, (int64_t{64} << 10) / std::max<int64_t>(1, columns));
}

}  // namespace triax::cpu
