// Attention in blocks with an online softmax (Dao 2023, "FlashAttention-2"): 16-bit types with head dimensions up to 128 on
// tensor cores, everything else by plain loops, a warp a query (or a key). Nothing is added up by atomics: the gradients
// of keys and values come from one kernel, those of queries from another, at the price of computing the scores twice.
// The unit of scores is log2, so that the softmax is made of 2^x.
#include "triax/kernels/cuda/device_code.h"

namespace triax::TRIAX_GPU {
namespace {

constexpr int kBlock = 64;          // queries or keys of a block of threads, 16 a warp
constexpr int kBlockThreads = 128;
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

// ---- tensor cores: tiles of rows in shared memory, kWidth columns and 8 that keep rows apart

template <int kWidth>
constexpr int kStride = kWidth + 8;
template <int kWidth, typename T>
constexpr size_t kTileBytes = size_t{kBlock} * kStride<kWidth> * sizeof(T);

// Rows [0, rows) of a matrix of d columns; the rest of the tile becomes zero. The copies end with end_copy_group().
template <int kWidth, typename T>
__device__ inline void load_tile(const Attention& a, const T* from, int64_t stride, int rows, int tile_rows, T* tile) {
  constexpr int kPacks = kWidth / kPack;
  for (int i = static_cast<int>(threadIdx.x); i < tile_rows * kPacks; i += kBlockThreads) {
    const int r = i / kPacks, c = i % kPacks * kPack;
    T* to = tile + r * kStride<kWidth> + c;
    if (a.vector) {
      const bool here = r < rows && c < a.d;
      copy_16_bytes(to, here ? from + r * stride + c : from, here);
    } else {
      for (int j = 0; j < kPack; ++j) to[j] = r < rows && c + j < a.d ? from[r * stride + c + j] : T{0};
    }
  }
}

// c [16, 8 kTiles] += a b^T: 16 rows of a and 8 kTiles of b, both 16 kSteps long.
template <int kTiles, int kSteps, int kWidth, typename T>
__device__ inline void add_product(float (&c)[kTiles][4], const T* a, const T* b) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    uint32_t left[4], right[4];
    load_matrices<false>(left, a + lane % 16 * kStride<kWidth> + step * 16 + lane / 16 * 8);
#pragma unroll
    for (int t = 0; t < kTiles; t += 2) {
      load_matrices<false>(right, b + (t * 8 + lane % 8 + lane / 16 * 8) * kStride<kWidth> + step * 16 + lane / 8 % 2 * 8);
      multiply_add(c[t], left, right[0], right[1], T{});
      multiply_add(c[t + 1], left, right[2], right[3], T{});
    }
  }
}

// c [16, 8 kTiles] += a b: a [16, 16 kSteps] in registers, b 16 kSteps rows.
template <int kTiles, int kSteps, int kWidth, typename T>
__device__ inline void add_register_product(float (&c)[kTiles][4], const uint32_t (&a)[kSteps][4], const T* b) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int step = 0; step < kSteps; ++step)
#pragma unroll
    for (int t = 0; t < kTiles; t += 2) {
      uint32_t right[4];
      load_matrices<true>(right, b + (step * 16 + lane % 16) * kStride<kWidth> + t * 8 + lane / 16 * 8);
      multiply_add(c[t], a[step], right[0], right[1], T{});
      multiply_add(c[t + 1], a[step], right[2], right[3], T{});
    }
}

// A product's result as the left operand of another.
template <int kTiles, typename T>
__device__ inline void as_left_operand(const float (&c)[kTiles][4], uint32_t (&a)[kTiles / 2][4], T) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int h = 0; h < 2; ++h) a[t / 2][t % 2 * 2 + h] = pack_halves(c[t][2 * h], c[t][2 * h + 1], T{});
}

// c [16, kWidth] times factor[row half] to rows of d columns, `rows` of them.
template <int kWidth, typename T>
__device__ inline void store_rows(const Attention& a, const float (&c)[kWidth / 8][4], const float (&factor)[2], int rows,
                                  int64_t stride, T* to) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int t = 0; t < kWidth / 8; ++t)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = lane / 4 + 8 * h, col = t * 8 + lane % 4 * 2;
      if (row >= rows || col >= a.d) continue;
      T* at = to + row * stride + col;
      if (a.vector) {
        *reinterpret_cast<uint32_t*>(at) = pack_halves(c[t][2 * h] * factor[h], c[t][2 * h + 1] * factor[h], T{});
      } else {
        at[0] = from_float<T>(c[t][2 * h] * factor[h]);
        if (col + 1 < a.d) at[1] = from_float<T>(c[t][2 * h + 1] * factor[h]);
      }
    }
}

// p [16, 64] times the dropout factors of row `rows[half]` and columns first_key, ... of the mask; or these factors alone.
__device__ inline void multiply_by_mask(const Mask& mask, const int64_t (&rows)[2], int first_key, float (&p)[8][4]) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const bool upper = first_key % 128 != 0;
#pragma unroll
  for (int h = 0; h < 2; ++h)
#pragma unroll
    for (int odd = 0; odd < 2; ++odd)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const PhiloxBlock n =
            dropout_numbers(mask, rows[h], first_key / 128, static_cast<uint32_t>(odd * 8 + lane % 4 * 2 + e));
        const uint32_t words[2] = {upper ? n[2] : n[0], upper ? n[3] : n[1]};
#pragma unroll
        for (int i = 0; i < 4; ++i)
          p[odd + 2 * i][2 * h + e] *= (words[i / 2] >> (16 * (i % 2)) & 0xFFFFu) >= mask.threshold ? mask.scale : 0.0f;
      }
}

template <int kWidth, typename T>
__global__ void __launch_bounds__(kBlockThreads) forward(Attention a, Spans spans) {
  constexpr int kTile = kBlock * kStride<kWidth>;
  const Place place(spans);
  const int first = (static_cast<int>(gridDim.x - 1 - blockIdx.x)) * kBlock;  // the last queries see most keys: they begin
  if (first >= place.length) return;
  T* q = dynamic_shared<T>();
  T* k = q + kTile;      // two of each
  T* v = k + 2 * kTile;
  const int64_t stride = int64_t{3} * a.heads * a.d;
  const T* qkv = static_cast<const T*>(a.qkv);
  const T* keys = qkv_at(a, qkv, place.token, 1, place.head);
  const T* values = qkv_at(a, qkv, place.token, 2, place.head);
  const int end = a.causal && first + kBlock < place.length ? first + kBlock : place.length;
  const auto load_keys = [&](int key, int stage) {
    load_tile<kWidth>(a, keys + key * stride, stride, end - key, kBlock, k + stage * kTile);
    load_tile<kWidth>(a, values + key * stride, stride, end - key, kBlock, v + stage * kTile);
    end_copy_group();
  };
  load_tile<kWidth>(a, qkv_at(a, qkv, place.token + first, 0, place.head), stride, place.length - first, kBlock, q);
  load_keys(0, 0);

  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int query = first + warp * 16 + lane / 4;  // and query + 8
  const int64_t rows[2] = {mask_row(a, place.token + query, place.head), mask_row(a, place.token + query + 8, place.head)};
  const float factor = a.scale * kLog2E;
  float out[kWidth / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  for (int key = 0, stage = 0; key < end; key += kBlock, stage ^= 1) {
    if (key + kBlock < end) {
      load_keys(key + kBlock, stage ^ 1);
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();
    float p[8][4] = {};
    add_product<8, kWidth / 16, kWidth>(p, q + warp * 16 * kStride<kWidth>, k + stage * kTile);
    const bool whole = key + kBlock <= place.length && (!a.causal || key + kBlock <= first);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float now = most[h];
#pragma unroll
      for (int t = 0; t < 8; ++t)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& x = p[t][2 * h + e];
          const int at = key + t * 8 + lane % 4 * 2 + e;
          x = whole || (at < place.length && (!a.causal || at <= query + 8 * h)) ? x * factor : -INFINITY;
          now = fmaxf(now, x);
        }
      now = fmaxf(now, __shfl_xor_sync(~0u, now, 1));
      now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));
      const float decay = exp2f(most[h] - now);
      most[h] = now;
      sum[h] *= decay;
#pragma unroll
      for (int t = 0; t < kWidth / 8; ++t) out[t][2 * h] *= decay, out[t][2 * h + 1] *= decay;
#pragma unroll
      for (int t = 0; t < 8; ++t)
#pragma unroll
        for (int e = 0; e < 2; ++e) sum[h] += p[t][2 * h + e] = exp2f(p[t][2 * h + e] - now);
    }
    if (a.mask.active) multiply_by_mask(a.mask, rows, key, p);
    uint32_t left[4][4];
    as_left_operand<8>(p, left, T{});
    add_register_product<kWidth / 8, 4, kWidth>(out, left, v + stage * kTile);
    __syncthreads();
  }
  float inverse[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
    sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
    inverse[h] = 1.0f / sum[h];
    if (lane % 4 == 0 && query + 8 * h < place.length)
      a.lse[place.head * a.n + place.token + query + 8 * h] = kLn2 * (most[h] + log2f(sum[h]));
  }
  store_rows<kWidth>(a, out, inverse, place.length - first - warp * 16, int64_t{a.heads} * a.d,
                     out_at(a, static_cast<T*>(a.out), place.token + first + warp * 16, place.head));
}

// p and ds of 16 queries and 64 keys from the scores and from dp = dout v^T, in place.
__device__ inline void probabilities_and_gradients(const Attention& a, const Place& place, int query, int key,
                                                   const float (&lse)[2], const float (&delta)[2], float (&p)[8][4],
                                                   float (&dp)[8][4]) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t rows[2] = {mask_row(a, place.token + query, place.head), mask_row(a, place.token + query + 8, place.head)};
  if (a.mask.active) multiply_by_mask(a.mask, rows, key, dp);
#pragma unroll
  for (int t = 0; t < 8; ++t)
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& x = p[t][2 * h + e];
        const bool visible = sees(a, place.length, query + 8 * h, key + t * 8 + lane % 4 * 2 + e);
        x = visible ? exp2f(x * (a.scale * kLog2E) - lse[h]) : 0.0f;
        dp[t][2 * h + e] = visible ? x * (dp[t][2 * h + e] - delta[h]) * a.scale : 0.0f;
      }
}

template <int kWidth, typename T>
__global__ void __launch_bounds__(kBlockThreads) backward_queries(Attention a, Spans spans) {
  constexpr int kTile = kBlock * kStride<kWidth>;
  const Place place(spans);
  const int first = (static_cast<int>(gridDim.x - 1 - blockIdx.x)) * kBlock;
  if (first >= place.length) return;
  T* q = dynamic_shared<T>();
  T *dout = q + kTile, *k = dout + kTile, *v = k + kTile;
  const int64_t stride = int64_t{3} * a.heads * a.d, out_stride = int64_t{a.heads} * a.d;
  const T* qkv = static_cast<const T*>(a.qkv);
  load_tile<kWidth>(a, qkv_at(a, qkv, place.token + first, 0, place.head), stride, place.length - first, kBlock, q);
  load_tile<kWidth>(a, out_at(a, static_cast<const T*>(a.dout), place.token + first, place.head), out_stride,
                    place.length - first, kBlock, dout);
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int query = first + warp * 16 + lane / 4;
  float lse[2] = {0, 0}, delta[2] = {0, 0};
  for (int h = 0; h < 2; ++h) {
    if (query + 8 * h >= place.length) continue;
    const int64_t at = place.head * a.n + place.token + query + 8 * h;
    lse[h] = a.lse[at] * kLog2E, delta[h] = a.delta[at];
  }
  const int end = a.causal && first + kBlock < place.length ? first + kBlock : place.length;
  float dq[kWidth / 8][4] = {};
  for (int key = 0; key < end; key += kBlock) {
    __syncthreads();
    load_tile<kWidth>(a, qkv_at(a, qkv, place.token + key, 1, place.head), stride, end - key, kBlock, k);
    load_tile<kWidth>(a, qkv_at(a, qkv, place.token + key, 2, place.head), stride, end - key, kBlock, v);
    end_copy_group();
    wait_for_copies<0>();
    __syncthreads();
    float p[8][4] = {}, dp[8][4] = {};
    add_product<8, kWidth / 16, kWidth>(p, q + warp * 16 * kStride<kWidth>, k);
    add_product<8, kWidth / 16, kWidth>(dp, dout + warp * 16 * kStride<kWidth>, v);
    probabilities_and_gradients(a, place, query, key, lse, delta, p, dp);
    uint32_t left[4][4];
    as_left_operand<8>(dp, left, T{});
    add_register_product<kWidth / 8, 4, kWidth>(dq, left, k);
  }
  const float one[2] = {1, 1};
  store_rows<kWidth>(a, dq, one, place.length - first - warp * 16, stride,
                     qkv_at(a, static_cast<T*>(a.dqkv), place.token + first + warp * 16, 0, place.head));
}

// Of one block of keys; the scores are transposed: a warp has 16 keys, and 32 queries at a time.
template <int kWidth, typename T>
__global__ void __launch_bounds__(kBlockThreads) backward_keys(Attention a, Spans spans) {
  constexpr int kTile = kBlock * kStride<kWidth>, kQueries = 32;
  __shared__ float lse[kQueries], delta[kQueries];
  __shared__ uint8_t kept[kQueries][16];  // bit w: what the mask has for key 16 w + column
  const Place place(spans);
  const int first = static_cast<int>(blockIdx.x) * kBlock;
  if (first >= place.length) return;
  T* k = dynamic_shared<T>();
  T *v = k + kTile, *q = v + kTile, *dout = q + kTile / 2;
  const int64_t stride = int64_t{3} * a.heads * a.d, out_stride = int64_t{a.heads} * a.d;
  const T* qkv = static_cast<const T*>(a.qkv);
  load_tile<kWidth>(a, qkv_at(a, qkv, place.token + first, 1, place.head), stride, place.length - first, kBlock, k);
  load_tile<kWidth>(a, qkv_at(a, qkv, place.token + first, 2, place.head), stride, place.length - first, kBlock, v);
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int key = first + warp * 16 + lane / 4;  // and key + 8
  float dk[kWidth / 8][4] = {}, dv[kWidth / 8][4] = {};
  for (int query = a.causal ? first : 0; query < place.length; query += kQueries) {
    __syncthreads();
    load_tile<kWidth>(a, qkv_at(a, qkv, place.token + query, 0, place.head), stride, place.length - query, kQueries, q);
    load_tile<kWidth>(a, out_at(a, static_cast<const T*>(a.dout), place.token + query, place.head), out_stride,
                      place.length - query, kQueries, dout);
    end_copy_group();
    if (const int i = static_cast<int>(threadIdx.x); i < kQueries) {
      const int64_t at = place.head * a.n + place.token + query + i;
      const bool here = query + i < place.length;
      lse[i] = here ? a.lse[at] * kLog2E : 0.0f, delta[i] = here ? a.delta[at] : 0.0f;
    }
    if (a.mask.active)
      for (int i = static_cast<int>(threadIdx.x); i < kQueries * 16; i += kBlockThreads) {
        const PhiloxBlock n = dropout_numbers(a.mask, mask_row(a, place.token + query + i / 16, place.head), first / 128,
                                              static_cast<uint32_t>(i % 16));
        uint32_t bits = 0;
        for (int w = 0; w < 4; ++w)
          bits |= uint32_t{keeps(a.mask, n, w + (first % 128 != 0 ? 4 : 0))} << w;
        kept[i / 16][i % 16] = static_cast<uint8_t>(bits);
      }
    wait_for_copies<0>();
    __syncthreads();
    float p[4][4] = {}, ds[4][4] = {};
    add_product<4, kWidth / 16, kWidth>(p, k + warp * 16 * kStride<kWidth>, q);
    add_product<4, kWidth / 16, kWidth>(ds, v + warp * 16 * kStride<kWidth>, dout);
#pragma unroll
    for (int t = 0; t < 4; ++t)
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int i = t * 8 + lane % 4 * 2 + e, column = lane / 4 + 8 * h;
          const bool visible = sees(a, place.length, query + i, key + 8 * h);
          const float factor = !a.mask.active ? 1.0f : kept[i][column] >> warp & 1 ? a.mask.scale : 0.0f;
          const float x = visible ? exp2f(p[t][2 * h + e] * (a.scale * kLog2E) - lse[i]) : 0.0f;
          const float dp = ds[t][2 * h + e] * factor;
          p[t][2 * h + e] = x * factor;
          ds[t][2 * h + e] = visible ? x * (dp - delta[i]) * a.scale : 0.0f;
        }
    uint32_t left[2][4];
    as_left_operand<4>(p, left, T{});
    add_register_product<kWidth / 8, 2, kWidth>(dv, left, dout);
    as_left_operand<4>(ds, left, T{});
    add_register_product<kWidth / 8, 2, kWidth>(dk, left, q);
  }
  const float one[2] = {1, 1};
  const int rows = place.length - first - warp * 16;
  T* dqkv = static_cast<T*>(a.dqkv);
  store_rows<kWidth>(a, dk, one, rows, stride, qkv_at(a, dqkv, place.token + first + warp * 16, 1, place.head));
  store_rows<kWidth>(a, dv, one, rows, stride, qkv_at(a, dqkv, place.token + first + warp * 16, 2, place.head));
}

// ---- plain loops: a warp for one query (or key), 32 keys (or queries) at a time, one a lane

constexpr int kWarps = kBlockThreads / kWarp, kLaneColumns = kMaxHeadDim / kWarp;

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
    const float now = fmaxf(most, warp_max(score)), decay = most == -INFINITY ? 0.0f : exp2f(most - now);
    const float p = score == -INFINITY ? 0.0f : exp2f(score - now);
    most = now;
    sum = sum * decay + p;
    for (float& x : out) x *= decay;
    return p;
  }
};

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) plain_forward(Attention a, Spans spans) {
  __shared__ float shared[kWarps][kMaxHeadDim];
  const Place place(spans);
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int query = static_cast<int>(blockIdx.x) * kWarps + warp;
  if (query >= place.length) return;
  const T* qkv = static_cast<const T*>(a.qkv);
  const int64_t stride = int64_t{3} * a.heads * a.d, token = place.token + query;
  load_vector(qkv_at(a, qkv, token, 0, place.head), a.d, shared[warp]);
  const T* keys = qkv_at(a, qkv, place.token, 1, place.head);
  const T* values = qkv_at(a, qkv, place.token, 2, place.head);
  const int end = a.causal ? query + 1 : place.length;
  Running running;
  for (int first = 0; first < end; first += kWarp) {
    const int key = first + lane;
    float score = -INFINITY;
    if (key < end) score = dot_product(shared[warp], keys + key * stride, a.d, a.vector) * (a.scale * kLog2E);
    float p = running.add(score);
    if (a.mask.active) p *= dropout_factor(a.mask, mask_row(a, token, place.head), key);
    add_weighted_rows(p, end - first < kWarp ? end - first : kWarp, values + first * stride, stride, a.d, running.out);
  }
  const float sum = warp_sum(running.sum);
  store_vector(running.out, 1.0f / sum, a.d, out_at(a, static_cast<T*>(a.out), token, place.head));
  if (lane == 0) a.lse[place.head * a.n + token] = kLn2 * (running.most + log2f(sum));
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
__global__ void __launch_bounds__(kBlockThreads) plain_backward_queries(Attention a, Spans spans) {
  __shared__ float shared[kWarps][2][kMaxHeadDim];
  const Place place(spans);
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int query = static_cast<int>(blockIdx.x) * kWarps + warp;
  if (query >= place.length) return;
  const T* qkv = static_cast<const T*>(a.qkv);
  const int64_t stride = int64_t{3} * a.heads * a.d, token = place.token + query;
  load_vector(qkv_at(a, qkv, token, 0, place.head), a.d, shared[warp][0]);
  load_vector(out_at(a, static_cast<const T*>(a.dout), token, place.head), a.d, shared[warp][1]);
  const T* keys = qkv_at(a, qkv, place.token, 1, place.head);
  const T* values = qkv_at(a, qkv, place.token, 2, place.head);
  const int end = a.causal ? query + 1 : place.length;
  float dq[kLaneColumns] = {};
  for (int first = 0; first < end; first += kWarp) {
    const int key = first + lane;
    Pair pair;
    if (key < end)
      pair = pair_of(a, place, query, key, shared[warp][0], shared[warp][1], keys + key * stride, values + key * stride);
    add_weighted_rows(pair.ds, end - first < kWarp ? end - first : kWarp, keys + first * stride, stride, a.d, dq);
  }
  store_vector(dq, 1.0f, a.d, qkv_at(a, static_cast<T*>(a.dqkv), token, 0, place.head));
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) plain_backward_keys(Attention a, Spans spans) {
  __shared__ float shared[kWarps][2][kMaxHeadDim];
  const Place place(spans);
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int key = static_cast<int>(blockIdx.x) * kWarps + warp;
  if (key >= place.length) return;
  const T* qkv = static_cast<const T*>(a.qkv);
  const int64_t stride = int64_t{3} * a.heads * a.d, out_stride = int64_t{a.heads} * a.d, token = place.token + key;
  load_vector(qkv_at(a, qkv, token, 1, place.head), a.d, shared[warp][0]);
  load_vector(qkv_at(a, qkv, token, 2, place.head), a.d, shared[warp][1]);
  const T* queries = qkv_at(a, qkv, place.token, 0, place.head);
  const T* douts = out_at(a, static_cast<const T*>(a.dout), place.token, place.head);
  float dk[kLaneColumns] = {}, dv[kLaneColumns] = {};
  for (int first = a.causal ? key / kWarp * kWarp : 0; first < place.length; first += kWarp) {
    const int query = first + lane;
    Pair pair;
    if (sees(a, place.length, query, key))
      pair = pair_of(a, place, query, key, shared[warp][0], shared[warp][1], queries + query * stride,
                     douts + query * out_stride);
    const int count = place.length - first < kWarp ? place.length - first : kWarp;
    add_weighted_rows(pair.ds, count, queries + first * stride, stride, a.d, dk);
    add_weighted_rows(pair.kept, count, douts + first * out_stride, out_stride, a.d, dv);
  }
  store_vector(dk, 1.0f, a.d, qkv_at(a, static_cast<T*>(a.dqkv), token, 1, place.head));
  store_vector(dv, 1.0f, a.d, qkv_at(a, static_cast<T*>(a.dqkv), token, 2, place.head));
}

// ---- around them

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
  sum = warp_sum(sum);
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

// One query against its cache: the keys shared between the warps, whose results are then put together.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) decode(Decode a, Lengths lengths) {
  __shared__ float query[kMaxHeadDim], outs[kWarps][kMaxHeadDim], mosts[kWarps], sums[kWarps];
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const auto sequence = int64_t{blockIdx.y};
  const int head = static_cast<int>(blockIdx.x), length = lengths.length[sequence];
  const int64_t at = (sequence * a.heads + head) * a.d, stride = int64_t{a.heads} * a.d;
  const int64_t cache = (sequence * a.most * a.heads + head) * a.d;
  const T *k = static_cast<const T*>(a.k) + cache, *v = static_cast<const T*>(a.v) + cache;
  for (int c = static_cast<int>(threadIdx.x); c < a.d; c += kBlockThreads)
    query[c] = to_float(static_cast<const T*>(a.q)[at + c]);
  __syncthreads();
  Running running;
  for (int first = warp * kWarp; first < length; first += kBlockThreads) {
    const int key = first + lane;
    const float p = running.add(key < length ? dot_product(query, k + key * stride, a.d, false) * (a.scale * kLog2E)
                                             : -INFINITY);
    add_weighted_rows(p, length - first < kWarp ? length - first : kWarp, v + first * stride, stride, a.d, running.out);
  }
  const float sum = warp_sum(running.sum);
  for (int i = 0; i < kLaneColumns; ++i) outs[warp][lane + i * kWarp] = running.out[i];
  if (lane == 0) mosts[warp] = running.most, sums[warp] = sum;
  __syncthreads();
  float most = mosts[0];
  for (int w = 1; w < kWarps; ++w) most = fmaxf(most, mosts[w]);
  for (int c = static_cast<int>(threadIdx.x); c < a.d; c += kBlockThreads) {
    float total = 0, out = 0;
    for (int w = 0; w < kWarps; ++w) {
      const float weight = mosts[w] == -INFINITY ? 0.0f : exp2f(mosts[w] - most);
      total += weight * sums[w], out += weight * outs[w][c];
    }
    static_cast<T*>(a.out)[at + c] = from_float<T>(out / total);
  }
}

Grid grid_of(const Attention& a, const Spans& spans, int rows) {
  return {ceil_div(spans.longest, rows), static_cast<uint32_t>(a.heads), static_cast<uint32_t>(spans.count)};
}

template <int kWidth, typename T>
void forward_on_tensor_cores(void* stream, const Attention& a, const Spans& spans) {
  launch(forward<kWidth, T>, grid_of(a, spans, kBlock), kBlockThreads, 5 * kTileBytes<kWidth, T>, stream, a, spans);
}

template <int kWidth, typename T>
void backward_on_tensor_cores(void* stream, const Attention& a, const Spans& spans) {
  launch(backward_keys<kWidth, T>, grid_of(a, spans, kBlock), kBlockThreads, 3 * kTileBytes<kWidth, T>, stream, a, spans);
  launch(backward_queries<kWidth, T>, grid_of(a, spans, kBlock), kBlockThreads, 4 * kTileBytes<kWidth, T>, stream, a, spans);
}

}  // namespace

void attention_forward(void* stream, const Attention& a, const Spans& spans) {
  with_type(a.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (sizeof(T) == 2) {
      if (a.d <= 64) return forward_on_tensor_cores<64, T>(stream, a, spans);
      if (a.d <= 128) return forward_on_tensor_cores<128, T>(stream, a, spans);
    }
    launch(plain_forward<T>, grid_of(a, spans, kWarps), kBlockThreads, 0, stream, a, spans);
  });
}

void attention_deltas(void* stream, const Attention& a) {
  with_type(a.type, [&](auto tag) {
    launch(deltas<typename decltype(tag)::type>, {ceil_div(a.n * a.heads, kWarps)}, kBlockThreads, 0, stream, a);
  });
}

void attention_backward(void* stream, const Attention& a, const Spans& spans) {
  with_type(a.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (sizeof(T) == 2) {
      if (a.d <= 64) return backward_on_tensor_cores<64, T>(stream, a, spans);
      if (a.d <= 128) return backward_on_tensor_cores<128, T>(stream, a, spans);
    }
    launch(plain_backward_keys<T>, grid_of(a, spans, kWarps), kBlockThreads, 0, stream, a, spans);
    launch(plain_backward_queries<T>, grid_of(a, spans, kWarps), kBlockThreads, 0, stream, a, spans);
  });
}

void attention_zero(void* stream, const Attention& a, bool backward, const Spans& gaps) {
  with_type(a.type, [&](auto tag) {
    launch(zero<typename decltype(tag)::type>, grid_of(a, gaps, kWarps), kBlockThreads, 0, stream, a, backward, gaps);
  });
}

void attention_decode(void* stream, const Decode& a, const Lengths& lengths) {
  with_type(a.type, [&](auto tag) {
    launch(decode<typename decltype(tag)::type>, {static_cast<uint32_t>(a.heads), static_cast<uint32_t>(lengths.count)},
           kBlockThreads, 0, stream, a, lengths);
  });
}

}  // namespace triax::TRIAX_GPU
