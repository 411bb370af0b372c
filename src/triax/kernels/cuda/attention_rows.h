// Attention by plain loops: a warp for one query (or key), 32 keys (or queries) at a time, one a lane.
#pragma once

#include "triax/kernels/cuda/attention.h"

namespace triax::TRIAX_GPU {

constexpr int kLaneColumns = kMaxHeadDim / kWarp;

// A vector of d elements to shared memory, by one warp.
template <typename T>
__device__ inline void load_vector(const T* from, int d, float* to) {
  for (int c = static_cast<int>(threadIdx.x % kWarp); c < d; c += kWarp) to[c] = to_float(from[c]);
  __syncwarp();
}

template <typename T>
__device__ inline float dot_product(const float* x, const T* y, int d, bool vector) {
  float sum = 0;
  int c = 0;
  for (; vector && c + kPack <= d; c += kPack) {
    float v[kPack];
    load<kPack>(y + c, v);
    for (int i = 0; i < kPack; ++i) sum = fmaf(x[c + i], v[i], sum);
  }
  for (; c < d; ++c) sum = fmaf(x[c], to_float(y[c]), sum);
  return sum;
}

// sums[i] += the factors of `count` lanes times rows of d columns, `stride` apart.
template <typename T>
__device__ inline void add_weighted_rows(float factor, int count, const T* rows, int64_t stride, int d,
                                         float (&sums)[kLaneColumns]) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  for (int j = 0; j < count; ++j) {
    const float weight = __shfl_sync(~0u, factor, j);
    for (int i = 0; i < kLaneColumns; ++i)
      if (lane + i * kWarp < d) sums[i] = fmaf(weight, to_float(rows[j * stride + lane + i * kWarp]), sums[i]);
  }
}

template <typename T>
__device__ inline void store_vector(const float (&sums)[kLaneColumns], float factor, int d, T* to) {
  for (int i = 0; i < kLaneColumns; ++i) {
    const int c = static_cast<int>(threadIdx.x % kWarp) + i * kWarp;
    if (c < d) to[c] = from_float<T>(sums[i] * factor);
  }
}

// The online softmax of one query in one warp.
struct Running {
  float most = -INFINITY, sum = 0, out[kLaneColumns] = {};
  // `score` of this lane's key (-inf: none), in log2. Returns its weight.
  __device__ float add(float score) {
    const float now = fmaxf(most, reduce_warp<Largest>(score)), decay = most == -INFINITY ? 0.0f : exp2f(most - now);
    const float p = score == -INFINITY ? 0.0f : exp2f(score - now);
    most = now;
    sum = sum * decay + p;
    for (float& x : out) x *= decay;
    return p;
  }
};

}  // namespace triax::TRIAX_GPU
