// What the kernels of attention share: where things are, and who sees whom. The unit of scores is log2, so that the softmax
// is made of 2^x.
//
// Nothing is added up by atomics: the gradients of keys and values come from one kernel, those of queries from another, at
// the price of computing the scores twice.
#pragma once

#include "triax/kernels/cuda/device_code.h"

namespace triax::TRIAX_GPU {

constexpr int kBlockThreads = 128;
constexpr int kWarps = kBlockThreads / kWarp;
constexpr float kLog2E = 1.44269504f, kLn2 = 0.69314718f;

// Where a block of threads works: a head of a span.
struct Place {
  int64_t token;  // the span's first
  int length, head;
  __device__ Place(const Spans& spans)
      : token(spans.start[blockIdx.z]), length(spans.length[blockIdx.z]), head(static_cast<int>(blockIdx.y)) {}
};

// Vector of one token: part 0, 1, 2 of qkv or dqkv, or of out.
template <typename T>
__device__ inline T* qkv_at(const Attention& a, T* qkv, int64_t token, int part, int head) {
  return qkv + ((token * 3 + part) * a.heads + head) * a.d;
}
template <typename T>
__device__ inline T* out_at(const Attention& a, T* out, int64_t token, int head) {
  return out + (token * a.heads + head) * a.d;
}
__device__ inline bool sees(const Attention& a, int length, int query, int key) {
  return key < length && query < length && (!a.causal || key <= query);
}
__device__ inline int64_t mask_row(const Attention& a, int64_t token, int head) {
  return (a.mask.row_offset + token) * a.total_heads + a.head_offset + head;
}

// The operands of a place, as its threads see them.
template <typename T>
struct Operands : Place {
  int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  int64_t stride, out_stride;  // between tokens of qkv, and of out
  const T *queries, *keys, *values, *douts;  // of the span's first token; douts in backward only
  __device__ Operands(const Attention& a, const Spans& spans)
      : Place(spans), stride(int64_t{3} * a.heads * a.d), out_stride(int64_t{a.heads} * a.d),
        queries(qkv_at(a, static_cast<const T*>(a.qkv), token, 0, head)),
        keys(qkv_at(a, static_cast<const T*>(a.qkv), token, 1, head)),
        values(qkv_at(a, static_cast<const T*>(a.qkv), token, 2, head)),
        douts(a.dout ? out_at(a, static_cast<const T*>(a.dout), token, head) : nullptr) {}
};

// The keys that a block of queries [first, first + count) sees end here.
__device__ inline int end_of_keys(const Attention& a, int length, int first, int count) {
  return a.causal && first + count < length ? first + count : length;
}

inline Grid grid_of(const Attention& a, const Spans& spans, int rows) {
  return {ceil_div(spans.longest, rows), static_cast<uint32_t>(a.heads), static_cast<uint32_t>(spans.count)};
}

// False: not for these types and head dimensions.
bool forward_on_tensor_cores(void* stream, const Attention& attention, const Spans& spans);
bool backward_on_tensor_cores(void* stream, const Attention& attention, const Spans& spans);
void plain_forward(void* stream, const Attention& attention, const Spans& spans);
void plain_backward(void* stream, const Attention& attention, const Spans& spans);

}  // namespace triax::TRIAX_GPU
