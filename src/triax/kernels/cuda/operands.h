// Tensors and contexts as the kernels of launch.h want them.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "triax/base/error.h"
#include "triax/base/rng.h"
#include "triax/kernels/cuda/launch.h"
#include "triax/kernels/device_queue.h"

namespace triax::TRIAX_GPU {

inline Type type_of(DType dtype) { return dtype == DType::f32 ? Type::f32 : dtype == DType::bf16 ? Type::bf16 : Type::f16; }
inline Type type_of(const Tensor& tensor) { return type_of(tensor.dtype()); }

inline void* stream_of(const Context& context) { return context.queue->stream; }
inline Scratch scratch_of(const Context& context, std::string_view operation, size_t needed) {
  check(needed <= context.queue->scratch_bytes, "{} needs {} bytes of scratch on the GPU, more than the {} there are", operation,
        needed, context.queue->scratch_bytes);
  return {context.queue->scratch, context.queue->scratch_bytes};
}

inline Matrix matrix(const Tensor& tensor) {
  return {tensor.raw(), tensor.defined() && tensor.rank() == 2 ? tensor.stride(0) : 0};
}
inline const float* floats(const Tensor& tensor) { return tensor.defined() ? tensor.data<float>() : nullptr; }
inline float* mutable_floats(const Tensor& tensor) { return tensor.defined() ? tensor.data<float>() : nullptr; }

inline bool is_aligned(const Tensor& tensor) {
  if (reinterpret_cast<uintptr_t>(tensor.raw()) % 16 != 0) return false;
  if (tensor.rank() != 2 || tensor.dim(0) <= 1) return true;
  return static_cast<size_t>(tensor.stride(0)) * size_of(tensor.dtype()) % 16 == 0;
}

// The rows of matrices of one shape; vectors of their columns may be among them. Undefined tensors are left out.
inline Area rows_of(std::initializer_list<const Tensor*> tensors) {
  const Tensor& first = **tensors.begin();
  const bool vector = std::ranges::all_of(tensors, [](const Tensor* t) { return !t->defined() || is_aligned(*t); });
  return {first.dim(0), first.dim(1), vector};
}

// Tensors of one shape as one row, where all are contiguous.
inline Area flat_or_rows(std::initializer_list<const Tensor*> tensors) {
  const bool flat = std::ranges::all_of(tensors, [](const Tensor* t) { return !t->defined() || t->is_contiguous(); });
  if (!flat) return rows_of(tensors);
  const auto aligned = [](const Tensor* t) { return reinterpret_cast<uintptr_t>(t->raw()) % 16 == 0; };
  return {1, (*tensors.begin())->numel(), std::ranges::all_of(tensors, aligned)};
}

inline bool is_empty(const Area& area) { return area.rows == 0 || area.cols == 0; }

inline Mask mask_of(const Dropout& dropout, int64_t cols) {
  if (!dropout.active()) return {};
  const int64_t total = dropout.total_cols > 0 ? dropout.total_cols : cols;
  return {.key0 = static_cast<uint32_t>(dropout.seed),
          .key1 = static_cast<uint32_t>(dropout.seed >> 32),
          .site = dropout.site,
          .step = dropout.step,
          .threshold = dropout.threshold(),
          .scale = dropout.scale(),
          .blocks_per_row = static_cast<uint64_t>((total + 127) / 128),
          .row_offset = dropout.row_offset,
          .col_offset = dropout.col_offset,
          .active = true};
}

}  // namespace triax::TRIAX_GPU
