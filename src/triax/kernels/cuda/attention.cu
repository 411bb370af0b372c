// Attention: which kernels do it, and what is around them.
#include "triax/kernels/cuda/attention.h"

namespace triax::TRIAX_GPU {
namespace {

// delta = sum of out * dout of every token and head, a warp each.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) deltas(Attention a) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t index = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (index >= a.n * a.heads) return;
  const T* out = static_cast<const T*>(a.out) + index * a.d;
  const T* dout = static_cast<const T*>(a.dout) + index * a.d;
  float sum = 0;
  for (int c = lane; c < a.d; c += kWarp) sum = fmaf(to_float(out[c]), to_float(dout[c]), sum);
  sum = reduce_warp<Sum>(sum);
  if (lane == 0) a.delta[index % a.heads * a.n + index / a.heads] = sum;
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) zero(Attention a, bool backward, Spans gaps) {
  const Place place(gaps);
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int within = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x / kWarp);
  if (within >= place.length) return;
  const int64_t token = place.token + within;
  for (int c = lane; c < a.d; c += kWarp) {
    if (!backward) out_at(a, static_cast<T*>(a.out), token, place.head)[c] = T{0};
    for (int part = 0; backward && part < 3; ++part)
      qkv_at(a, static_cast<T*>(a.dqkv), token, part, place.head)[c] = T{0};
  }
  if (!backward && lane == 0) a.lse[place.head * a.n + token] = 0;
}

}  // namespace

void attention_forward(void* stream, const Attention& a, const Spans& spans) {
  if (!forward_on_tensor_cores(stream, a, spans)) plain_forward(stream, a, spans);
}

void attention_backward(void* stream, const Attention& a, const Spans& spans) {
  if (!backward_on_tensor_cores(stream, a, spans)) plain_backward(stream, a, spans);
}

void attention_deltas(void* stream, const Attention& a) {
  with_type(a.type, [&](auto tag) {
    launch(deltas<typename decltype(tag)::type>, {ceil_div(a.n * a.heads, kWarps)}, kBlockThreads, 0, stream, a);
  });
}

void attention_zero(void* stream, const Attention& a, bool backward, const Spans& gaps) {
  with_type(a.type, [&](auto tag) {
    launch(zero<typename decltype(tag)::type>, grid_of(a, gaps, kWarps), kBlockThreads, 0, stream, a, backward, gaps);
  });
}

}  // namespace triax::TRIAX_GPU
