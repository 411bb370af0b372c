#include <cstring>

#include "triax/kernels/cpu/attention.h"

namespace triax::cpu {
namespace {

constexpr int64_t kAlignedFloats = 64 / sizeof(float), kMaxBuffers = 16;

}  // namespace

void AttentionBuffers::reset(int64_t floats) {
  const auto needed = static_cast<size_t>(floats + (kMaxBuffers + 1) * kAlignedFloats);
  if (memory_.size() < needed) memory_.assign(needed, 0.0f);
  const auto address = reinterpret_cast<uintptr_t>(memory_.data());
  used_ = static_cast<int64_t>((64 - address % 64) % 64 / sizeof(float));
}

float* AttentionBuffers::take(int64_t floats) {
  float* buffer = memory_.data() + used_;
  used_ += (floats + kAlignedFloats - 1) / kAlignedFloats * kAlignedFloats;
  return buffer;
}

AttentionBuffers& attention_buffers() {
  static thread_local AttentionBuffers buffers;
  return buffers;
}

void zero_outside(std::span<const Span> spans, const Tensor& x) {
  const size_t row = x.bytes() / static_cast<size_t>(std::max<int64_t>(1, x.dim(0)));
  for_each_gap(spans, x.dim(0), [&](int64_t begin, int64_t end) {
    std::memset(static_cast<char*>(x.raw()) + static_cast<size_t>(begin) * row, 0,
                static_cast<size_t>(end - begin) * row);
  });
}

}  // namespace triax::cpu
