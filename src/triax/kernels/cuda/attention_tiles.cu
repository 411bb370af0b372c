// Attention of 16-bit types with head dimensions up to 128, on tensor cores, in blocks with an online softmax (Dao 2023,
// "FlashAttention-2").
#include "triax/kernels/cuda/attention_tiles.h"

namespace triax::TRIAX_GPU {
namespace {

// The online softmax of a warp's 16 queries, of which a thread has two.
template <int kWidth>
struct OnlineSoftmax {
  float out[kWidth / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};

  // p: products of two queries (`query` and + 8) and 64 keys from `key` on, which become their weights.
  __device__ void add(const Attention& a, int length, int query, int key, bool all_visible, float (&p)[8][4]) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float now = most[h];
#pragma unroll
      for (int t = 0; t < 8; ++t)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& x = p[t][2 * h + e];
          const int at = key + t * 8 + lane % 4 * 2 + e;
          x = all_visible || (at < length && (!a.causal || at <= query + 8 * h)) ? x * (a.scale * kLog2E) : -INFINITY;
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
  }

  // The sums over all lanes of a row, as factors of out.
  __device__ void finish(float (&inverse)[2]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
      sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
      inverse[h] = 1.0f / sum[h];
    }
  }
  __device__ float lse(int h) const { return kLn2 * (most[h] + log2f(sum[h])); }
};

template <int kWidth, typename T>
__global__ void __launch_bounds__(kBlockThreads) forward(Attention a, Spans spans) {
  constexpr int kTile = kBlock * kStride<kWidth>;
  const Operands<T> at(a, spans);
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kBlock;  // the last queries see most keys: they begin
  if (first >= at.length) return;
  T* q = dynamic_shared<T>();
  T *k = q + kTile, *v = k + 2 * kTile;  // two of each
  const int end = end_of_keys(a, at.length, first, kBlock);
  const auto load_keys = [&](int key, int stage) {
    load_tile<kWidth>(a, at.keys + key * at.stride, at.stride, end - key, kBlock, k + stage * kTile);
    load_tile<kWidth>(a, at.values + key * at.stride, at.stride, end - key, kBlock, v + stage * kTile);
    end_copy_group();
  };
  load_tile<kWidth>(a, at.queries + first * at.stride, at.stride, at.length - first, kBlock, q);
  load_keys(0, 0);

  const int mine = first + at.warp * 16, query = mine + at.lane / 4;  // and query + 8
  const int64_t rows[2] = {mask_row(a, at.token + query, at.head), mask_row(a, at.token + query + 8, at.head)};
  OnlineSoftmax<kWidth> softmax;
  for (int key = 0, stage = 0; key < end; key += kBlock, stage ^= 1) {
    if (key + kBlock < end) {
      load_keys(key + kBlock, stage ^ 1);
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();
    float p[8][4] = {};
    add_product<8, kWidth / 16, kWidth>(p, q + at.warp * 16 * kStride<kWidth>, k + stage * kTile);
    softmax.add(a, at.length, query, key, key + kBlock <= (a.causal ? first : at.length), p);
    if (a.mask.active) multiply_by_mask(a.mask, rows, key, p);
    uint32_t left[4][4];
    as_left_operand<8>(p, left, T{});
    add_register_product<kWidth / 8, 4, kWidth>(softmax.out, left, v + stage * kTile);
    __syncthreads();
  }
  float inverse[2];
  softmax.finish(inverse);
  for (int h = 0; h < 2; ++h)
    if (at.lane % 4 == 0 && query + 8 * h < at.length) a.lse[at.head * a.n + at.token + query + 8 * h] = softmax.lse(h);
  store_rows<kWidth>(a, softmax.out, inverse, at.length - mine, at.out_stride,
                     out_at(a, static_cast<T*>(a.out), at.token + mine, at.head));
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
  const Operands<T> at(a, spans);
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kBlock;
  if (first >= at.length) return;
  T* q = dynamic_shared<T>();
  T *dout = q + kTile, *k = dout + kTile, *v = k + kTile;
  load_tile<kWidth>(a, at.queries + first * at.stride, at.stride, at.length - first, kBlock, q);
  load_tile<kWidth>(a, at.douts + first * at.out_stride, at.out_stride, at.length - first, kBlock, dout);
  const int mine = first + at.warp * 16, query = mine + at.lane / 4;
  float lse[2] = {0, 0}, delta[2] = {0, 0};
  for (int h = 0; h < 2; ++h) {
    if (query + 8 * h >= at.length) continue;
    const int64_t index = at.head * a.n + at.token + query + 8 * h;
    lse[h] = a.lse[index] * kLog2E, delta[h] = a.delta[index];
  }
  const int end = end_of_keys(a, at.length, first, kBlock);
  float dq[kWidth / 8][4] = {};
  for (int key = 0; key < end; key += kBlock) {
    __syncthreads();
    load_tile<kWidth>(a, at.keys + key * at.stride, at.stride, end - key, kBlock, k);
    load_tile<kWidth>(a, at.values + key * at.stride, at.stride, end - key, kBlock, v);
    end_copy_group();
    wait_for_copies<0>();
    __syncthreads();
    float p[8][4] = {}, dp[8][4] = {};
    add_product<8, kWidth / 16, kWidth>(p, q + at.warp * 16 * kStride<kWidth>, k);
    add_product<8, kWidth / 16, kWidth>(dp, dout + at.warp * 16 * kStride<kWidth>, v);
    probabilities_and_gradients(a, at, query, key, lse, delta, p, dp);
    uint32_t left[4][4];
    as_left_operand<8>(dp, left, T{});
    add_register_product<kWidth / 8, 4, kWidth>(dq, left, k);
  }
  const float one[2] = {1, 1};
  store_rows<kWidth>(a, dq, one, at.length - mine, at.stride, qkv_at(a, static_cast<T*>(a.dqkv), at.token + mine, 0, at.head));
}

// ---- backward of one block of keys: the scores are transposed, a warp has 16 keys, and 32 queries at a time

constexpr int kQueries = 32;

// Of the queries at work.
struct QueryFacts {
  float lse[kQueries], delta[kQueries];
  uint8_t kept[kQueries][16];  // bit w: what the mask has for key 16 w + column
};

// By all threads of a block, for the queries from `query` on and the 64 keys from `key` on.
__device__ inline void load_facts(const Attention& a, const Place& place, int query, int key, QueryFacts& facts) {
  if (const int i = static_cast<int>(threadIdx.x); i < kQueries) {
    const int64_t index = place.head * a.n + place.token + query + i;
    const bool here = query + i < place.length;
    facts.lse[i] = here ? a.lse[index] * kLog2E : 0.0f, facts.delta[i] = here ? a.delta[index] : 0.0f;
  }
  if (!a.mask.active) return;
  for (int i = static_cast<int>(threadIdx.x); i < kQueries * 16; i += kBlockThreads) {
    const PhiloxBlock n = dropout_numbers(a.mask, mask_row(a, place.token + query + i / 16, place.head), key / 128,
                                          static_cast<uint32_t>(i % 16));
    uint32_t bits = 0;
    for (int w = 0; w < 4; ++w) bits |= uint32_t{keeps(a.mask, n, w + (key % 128 != 0 ? 4 : 0))} << w;
    facts.kept[i / 16][i % 16] = static_cast<uint8_t>(bits);
  }
}

// From scores and dp = v dout^T of 16 keys (`key` and + 8 are this thread's) and 32 queries: p times its mask, and ds.
__device__ inline void transposed_gradients(const Attention& a, const Place& place, int query, int key, const QueryFacts& facts,
                                            float (&p)[4][4], float (&ds)[4][4]) {
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
#pragma unroll
  for (int t = 0; t < 4; ++t)
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int i = t * 8 + lane % 4 * 2 + e, column = lane / 4 + 8 * h;
        const bool visible = sees(a, place.length, query + i, key + 8 * h);
        const float factor = !a.mask.active ? 1.0f : facts.kept[i][column] >> warp & 1 ? a.mask.scale : 0.0f;
        const float x = visible ? exp2f(p[t][2 * h + e] * (a.scale * kLog2E) - facts.lse[i]) : 0.0f;
        const float dp = ds[t][2 * h + e] * factor;
        p[t][2 * h + e] = x * factor;
        ds[t][2 * h + e] = visible ? x * (dp - facts.delta[i]) * a.scale : 0.0f;
      }
}

template <int kWidth, typename T>
__global__ void __launch_bounds__(kBlockThreads) backward_keys(Attention a, Spans spans) {
  constexpr int kTile = kBlock * kStride<kWidth>;
  __shared__ QueryFacts facts;
  const Operands<T> at(a, spans);
  const int first = static_cast<int>(blockIdx.x) * kBlock;
  if (first >= at.length) return;
  T* k = dynamic_shared<T>();
  T *v = k + kTile, *q = v + kTile, *dout = q + kTile / 2;
  load_tile<kWidth>(a, at.keys + first * at.stride, at.stride, at.length - first, kBlock, k);
  load_tile<kWidth>(a, at.values + first * at.stride, at.stride, at.length - first, kBlock, v);
  const int mine = first + at.warp * 16, key = mine + at.lane / 4;  // and key + 8
  float dk[kWidth / 8][4] = {}, dv[kWidth / 8][4] = {};
  for (int query = a.causal ? first : 0; query < at.length; query += kQueries) {
    __syncthreads();
    load_tile<kWidth>(a, at.queries + query * at.stride, at.stride, at.length - query, kQueries, q);
    load_tile<kWidth>(a, at.douts + query * at.out_stride, at.out_stride, at.length - query, kQueries, dout);
    end_copy_group();
    load_facts(a, at, query, first, facts);
    wait_for_copies<0>();
    __syncthreads();
    float p[4][4] = {}, ds[4][4] = {};
    add_product<4, kWidth / 16, kWidth>(p, k + at.warp * 16 * kStride<kWidth>, q);
    add_product<4, kWidth / 16, kWidth>(ds, v + at.warp * 16 * kStride<kWidth>, dout);
    transposed_gradients(a, at, query, key, facts, p, ds);
    uint32_t left[2][4];
    as_left_operand<4>(p, left, T{});
    add_register_product<kWidth / 8, 2, kWidth>(dv, left, dout);
    as_left_operand<4>(ds, left, T{});
    add_register_product<kWidth / 8, 2, kWidth>(dk, left, q);
  }
  const float one[2] = {1, 1};
  T* dqkv = static_cast<T*>(a.dqkv);
  store_rows<kWidth>(a, dk, one, at.length - mine, at.stride, qkv_at(a, dqkv, at.token + mine, 1, at.head));
  store_rows<kWidth>(a, dv, one, at.length - mine, at.stride, qkv_at(a, dqkv, at.token + mine, 2, at.head));
}

// body(TypeTag<T>{}, Count<width>{}) for the width of tile that a head takes.
template <typename Body>
bool with_tile(const Attention& a, const Body& body) {
  if (a.type == Type::f32 || a.d > 128) return false;
  with_type(a.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (sizeof(T) == 2) {
      if (a.d <= 64) return body(tag, Count<64>{});
      body(tag, Count<128>{});
    }
  });
  return true;
}

}  // namespace

bool forward_on_tensor_cores(void* stream, const Attention& a, const Spans& spans) {
  return with_tile(a, [&](auto tag, auto width) {
    using T = typename decltype(tag)::type;
    constexpr int kWidth = decltype(width)::value;
    launch(forward<kWidth, T>, grid_of(a, spans, kBlock), kBlockThreads, 5 * kTileBytes<kWidth, T>, stream, a, spans);
  });
}

bool backward_on_tensor_cores(void* stream, const Attention& a, const Spans& spans) {
  return with_tile(a, [&](auto tag, auto width) {
    using T = typename decltype(tag)::type;
    constexpr int kWidth = decltype(width)::value;
    const Grid grid = grid_of(a, spans, kBlock);
    launch(backward_keys<kWidth, T>, grid, kBlockThreads, 3 * kTileBytes<kWidth, T>, stream, a, spans);
    launch(backward_queries<kWidth, T>, grid, kBlockThreads, 4 * kTileBytes<kWidth, T>, stream, a, spans);
  });
}

}  // namespace triax::TRIAX_GPU
