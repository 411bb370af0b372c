// Attention of what tensor cores do not take: f32, and wide heads.
#include "triax/kernels/cuda/attention_rows.h"

namespace triax::TRIAX_GPU {
namespace {

// A warp has row `row` of a head of a span, be it a query or a key.
template <typename T>
struct WarpRow : Operands<T> {
  int row = static_cast<int>(blockIdx.x) * kWarps + this->warp;
  int64_t own = this->token + row;  // its token
  using Operands<T>::Operands;
  __device__ bool here() const { return row < this->length; }
  // How many of the 32 rows from `first` on there are before `end`.
  __device__ int count(int first, int end) const { return end - first < kWarp ? end - first : kWarp; }
};

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) forward_rows(Attention a, Spans spans) {
  __shared__ float shared[kWarps][kMaxHeadDim];
  const WarpRow<T> at(a, spans);
  if (!at.here()) return;
  load_vector(at.queries + at.row * at.stride, a.d, shared[at.warp]);
  const int end = end_of_keys(a, at.length, at.row, 1);
  Running running;
  for (int first = 0; first < end; first += kWarp) {
    const int key = first + at.lane;
    float score = -INFINITY;
    if (key < end) score = dot_product(shared[at.warp], at.keys + key * at.stride, a.d, a.vector) * (a.scale * kLog2E);
    float p = running.add(score);
    if (a.mask.active) p *= dropout_factor(a.mask, mask_row(a, at.own, at.head), key);
    add_weighted_rows(p, at.count(first, end), at.values + first * at.stride, at.stride, a.d, running.out);
  }
  const float sum = reduce_warp<Sum>(running.sum);
  store_vector(running.out, 1.0f / sum, a.d, out_at(a, static_cast<T*>(a.out), at.own, at.head));
  if (at.lane == 0) a.lse[at.head * a.n + at.own] = kLn2 * (running.most + log2f(sum));
}

// x and y: the query's q and dout (or the key's k and v). p, and ds, of this lane's other side.
struct Pair {
  float p = 0, kept = 0, ds = 0;  // kept: p times its dropout factor
};
template <typename T>
__device__ inline Pair pair_of(const Attention& a, const Place& place, int query, int key, const float* x, const float* y,
                               const T* other_x, const T* other_y) {
  const int64_t at = place.head * a.n + place.token + query;
  Pair pair;
  pair.p = exp2f(dot_product(x, other_x, a.d, a.vector) * (a.scale * kLog2E) - a.lse[at] * kLog2E);
  const float factor = a.mask.active ? dropout_factor(a.mask, mask_row(a, place.token + query, place.head), key) : 1.0f;
  pair.kept = pair.p * factor;
  pair.ds = pair.p * (dot_product(y, other_y, a.d, a.vector) * factor - a.delta[at]) * a.scale;
  return pair;
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) backward_query_rows(Attention a, Spans spans) {
  __shared__ float shared[kWarps][2][kMaxHeadDim];
  const WarpRow<T> at(a, spans);
  if (!at.here()) return;
  float *q = shared[at.warp][0], *dout = shared[at.warp][1];
  load_vector(at.queries + at.row * at.stride, a.d, q);
  load_vector(at.douts + at.row * at.out_stride, a.d, dout);
  const int end = end_of_keys(a, at.length, at.row, 1);
  float dq[kLaneColumns] = {};
  for (int first = 0; first < end; first += kWarp) {
    const int key = first + at.lane;
    Pair pair;
    if (key < end) pair = pair_of(a, at, at.row, key, q, dout, at.keys + key * at.stride, at.values + key * at.stride);
    add_weighted_rows(pair.ds, at.count(first, end), at.keys + first * at.stride, at.stride, a.d, dq);
  }
  store_vector(dq, 1.0f, a.d, qkv_at(a, static_cast<T*>(a.dqkv), at.own, 0, at.head));
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) backward_key_rows(Attention a, Spans spans) {
  __shared__ float shared[kWarps][2][kMaxHeadDim];
  const WarpRow<T> at(a, spans);
  if (!at.here()) return;
  float *k = shared[at.warp][0], *v = shared[at.warp][1];
  load_vector(at.keys + at.row * at.stride, a.d, k);
  load_vector(at.values + at.row * at.stride, a.d, v);
  float dk[kLaneColumns] = {}, dv[kLaneColumns] = {};
  for (int first = a.causal ? at.row / kWarp * kWarp : 0; first < at.length; first += kWarp) {
    const int query = first + at.lane;
    Pair pair;
    if (sees(a, at.length, query, at.row))
      pair = pair_of(a, at, query, at.row, k, v, at.queries + query * at.stride, at.douts + query * at.out_stride);
    const int count = at.count(first, at.length);
    add_weighted_rows(pair.ds, count, at.queries + first * at.stride, at.stride, a.d, dk);
    add_weighted_rows(pair.kept, count, at.douts + first * at.out_stride, at.out_stride, a.d, dv);
  }
  store_vector(dk, 1.0f, a.d, qkv_at(a, static_cast<T*>(a.dqkv), at.own, 1, at.head));
  store_vector(dv, 1.0f, a.d, qkv_at(a, static_cast<T*>(a.dqkv), at.own, 2, at.head));
}

}  // namespace

void plain_forward(void* stream, const Attention& a, const Spans& spans) {
  with_type(a.type, [&](auto tag) {
    launch(forward_rows<typename decltype(tag)::type>, grid_of(a, spans, kWarps), kBlockThreads, 0, stream, a, spans);
  });
}

void plain_backward(void* stream, const Attention& a, const Spans& spans) {
  with_type(a.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(backward_key_rows<T>, grid_of(a, spans, kWarps), kBlockThreads, 0, stream, a, spans);
    launch(backward_query_rows<T>, grid_of(a, spans, kWarps), kBlockThreads, 0, stream, a, spans);
  });
}

}  // namespace triax::TRIAX_GPU
