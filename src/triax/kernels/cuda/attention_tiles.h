// Products of 16-bit tiles on tensor cores, for attention. A block of 128 threads has 64 rows, 16 a warp; tiles are in shared
// memory, kWidth columns and 8 that keep rows apart.
#pragma once

#include "triax/kernels/cuda/attention.h"

namespace triax::TRIAX_GPU {

constexpr int kBlock = 64;  // queries or keys of a block of threads

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

}  // namespace triax::TRIAX_GPU
