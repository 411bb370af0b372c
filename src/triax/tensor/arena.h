// Arena: memory for one purpose, handed out front to back.
//
// An arena is used twice with the same code: first *measuring* (no memory behind it, tensors have no
// data), which tells how many bytes the purpose needs; then for real. What is predicted before step 0
// is therefore what is allocated, by construction.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "triax/tensor/tensor.h"

namespace triax {

class Arena {
 public:
  static constexpr size_t kAlignment = 64;

  // Measures only: allocate() returns tensors without data.
  explicit Arena(Device device = {}) : device_(device) {}
  // Hands out `bytes` of memory; running out is an Error naming `purpose`.
  Arena(std::string purpose, size_t bytes, Device device = {})
      : purpose_(std::move(purpose)), buffer_(bytes, device, purpose_), device_(device) {}

  Tensor allocate(Shape shape, DType dtype);

  // Everything handed out after mark() is free again after release(mark).
  size_t mark() const { return used_; }
  void release(size_t mark) { used_ = mark; }

  bool measuring() const { return buffer_.data() == nullptr; }
  size_t used() const { return used_; }
  size_t peak() const { return peak_; }
  size_t capacity() const { return buffer_.bytes(); }

 private:
  std::string purpose_;
  Buffer buffer_;
  Device device_;
  size_t used_ = 0, peak_ = 0;
};

// One line of the memory table: how many bytes a purpose takes on this rank.
struct MemoryUse {
  std::string purpose;
  size_t bytes = 0;
};

}  // namespace triax
