// Walking tensors of any rank and row stride in blocks of rows, in parallel.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "triax/base/error.h"
#include "triax/base/parallel.h"
#include "triax/kernels/cpu/row_kernels.h"
#include "triax/tensor/tensor.h"

namespace triax::cpu {

// Elements a piece of parallel work should have, whatever the number of threads.
constexpr int64_t kPieceElements = int64_t{32} << 10;

inline int64_t row_grain(int64_t cols) {
  return std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, cols));
}

// Part of a tensor seen as a matrix, or of a contiguous one as a single row.
struct Extent {
  int64_t row, col, rows, cols;
};

template <typename T>
Block<T> block_of(const Tensor& tensor, const Extent& extent) {
  if (!tensor.defined()) return {};
  const int64_t stride = tensor.rank() == 2 ? tensor.stride(0) : 0;
  return {tensor.data<std::remove_const_t<T>>() + extent.row * stride + extent.col, stride};
}

// All of a tensor of rank 2.
template <typename T>
Block<T> block_of(const Tensor& tensor) {
  return block_of<T>(tensor, {0, 0, 0, 0});
}

// body(extent) over tensors of one shape in pieces: of a flat range when all are contiguous, else
// of whole rows. Undefined tensors are left out.
template <typename Body>
void for_blocks(std::initializer_list<const Tensor*> tensors, const Body& body) {
  bool flat = true;
  for (const Tensor* t : tensors) flat = flat && (!t->defined() || t->is_contiguous());
  const Tensor& first = **tensors.begin();
  if (flat)
    return parallel_for(first.numel(), kPieceElements, [&](int64_t begin, int64_t end) {
      body(Extent{0, begin, 1, end - begin});
    });
  parallel_for(first.dim(0), row_grain(first.dim(1)), [&](int64_t begin, int64_t end) {
    body(Extent{begin, 0, end - begin, first.dim(1)});
  });
}

// Calls f(T{}) with the C++ type of a compute type.
template <typename F>
decltype(auto) with_compute_type(DType dtype, F&& f) {
  if (dtype == DType::f32) return f(float{});
  if (dtype == DType::bf16) return f(bf16{});
  check(dtype == DType::f16, "no kernel computes in {}", name_of(dtype));
  return f(f16{});
}

// Of the versions of a kernel that was compiled once for each compute type, that of `dtype`.
template <typename Kernel>
Kernel* version_for(DType dtype, Kernel* for_f32, Kernel* for_bf16, Kernel* for_f16) {
  return with_compute_type(dtype, [&]<typename T>(T) {
    return dtype_of<T> == DType::f32 ? for_f32 : dtype_of<T> == DType::bf16 ? for_bf16 : for_f16;
  });
}

}  // namespace triax::cpu
