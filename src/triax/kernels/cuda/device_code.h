// What kernels are written in: CUDA C++ and a few helpers. Tests compile the same kernels for the host, where a
// block's threads are fibers (tests/kernels/cuda_on_host): there TRIAX_CUDA_ON_HOST is defined.
//
// Kernels are called with whole warps, and no thread leaves before the last shuffle or barrier.
#pragma once

#include <cstdint>

#ifdef TRIAX_CUDA_ON_HOST
#include "kernels/cuda_on_host/emulation.h"
#else
#include <cuda_runtime.h>

#include "triax/kernels/cuda/device_intrinsics.h"
#endif

#include "triax/base/rng.h"
#include "triax/kernels/cuda/launch.h"

namespace triax::TRIAX_GPU {

constexpr int kWarp = 32;
constexpr int kThreads = 256;  // of a block, where nothing else is said
constexpr int kPack = 8;       // elements a thread works on at a time: 16 bytes of a 16-bit type
constexpr int kRowsOfBlock = kThreads / kWarp;  // where a warp has a row
constexpr int kColumnsOfBlock = kWarp * kPack;  // where a warp has a pack of each lane

template <int kCount>
struct Count {
  static constexpr int value = kCount;
};

// ---- element types; bf16 is the upper half of a float, f16 IEEE half precision

struct Bf16 {
  static constexpr bool kIsBf16 = true;
  uint16_t bits;
};
struct F16 {
  static constexpr bool kIsBf16 = false;
  uint16_t bits;
};

__device__ inline float bits_to_float(uint32_t bits) { return __uint_as_float(bits); }
__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(Bf16 x) { return bits_to_float(uint32_t{x.bits} << 16); }
__device__ inline float to_float(F16 x) { return half_to_float(x.bits); }

template <typename T>
__device__ inline T from_float(float x) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else {
    return T{to_half_bits(x, T{})};
  }
}

template <typename T>
struct TypeTag {
  using type = T;
};
// Calls f(TypeTag<T>{}) with the C++ type of a compute type.
template <typename F>
void with_type(Type type, const F& f) {
  if (type == Type::f32) return f(TypeTag<float>{});
  if (type == Type::bf16) return f(TypeTag<Bf16>{});
  f(TypeTag<F16>{});
}

// ---- memory, 16 bytes at a time

struct alignas(16) Quad {
  uint32_t word[4];
};

template <int kCount, typename T>
__device__ inline void load(const T* from, float (&x)[kCount]) {
  if constexpr (kCount == 1) {
    x[0] = to_float(*from);
  } else {
    constexpr int kElements = 16 / sizeof(T);
#pragma unroll
    for (int i = 0; i < kCount; i += kElements) {
      const Quad quad = *reinterpret_cast<const Quad*>(from + i);
#pragma unroll
      for (int j = 0; j < kElements; ++j) {
        if constexpr (sizeof(T) == 4) {
          x[i + j] = bits_to_float(quad.word[j]);
        } else {
          x[i + j] = to_float(T{static_cast<uint16_t>(quad.word[j / 2] >> (16 * (j % 2)))});
        }
      }
    }
  }
}

template <int kCount, typename T>
__device__ inline void store(const float (&x)[kCount], T* to) {
  if constexpr (kCount == 1) {
    *to = from_float<T>(x[0]);
  } else {
    constexpr int kElements = 16 / sizeof(T);
#pragma unroll
    for (int i = 0; i < kCount; i += kElements) {
      Quad quad;
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        if constexpr (sizeof(T) == 4) {
          quad.word[w] = __float_as_uint(x[i + w]);
        } else {
          quad.word[w] = pack_halves(x[i + 2 * w], x[i + 2 * w + 1], T{});
        }
      }
      *reinterpret_cast<Quad*>(to + i) = quad;
    }
  }
}

// body(Count<n>{}, column) over the columns of a row, shared between kLanes threads: packs where the row is aligned.
template <int kLanes, typename Body>
__device__ inline void for_columns(int64_t cols, bool vector, int lane, const Body& body) {
  const int64_t whole = vector ? cols / kPack * kPack : 0;
  for (int64_t c = lane * kPack; c < whole; c += kLanes * kPack) body(Count<kPack>{}, c);
  for (int64_t c = whole + lane; c < cols; c += kLanes) body(Count<1>{}, c);
}

// Elements [col, col + kPack) of a row of `cols`: what is beyond its end reads as 0 and is not written.
template <typename T>
__device__ inline void load_pack(const T* row, int64_t col, int64_t cols, bool vector, float (&x)[kPack]) {
  if (vector && col + kPack <= cols) return load<kPack>(row + col, x);
#pragma unroll
  for (int i = 0; i < kPack; ++i) x[i] = col + i < cols ? to_float(row[col + i]) : 0.0f;
}

template <typename T>
__device__ inline void store_pack(const float (&x)[kPack], T* row, int64_t col, int64_t cols, bool vector) {
  if (vector && col + kPack <= cols) return store<kPack>(x, row + col);
#pragma unroll
  for (int i = 0; i < kPack; ++i)
    if (col + i < cols) row[col + i] = from_float<T>(x[i]);
}

template <typename T>
__device__ inline T* row_of(const Matrix& matrix, int64_t row) {
  return static_cast<T*>(matrix.data) + row * matrix.stride;
}

// ---- reductions in a fixed order

struct Sum {
  template <typename T>
  __device__ T operator()(T x, T y) const {
    return x + y;
  }
};
struct Largest {
  __device__ float operator()(float x, float y) const { return fmaxf(x, y); }
};

template <typename Operator, typename T>
__device__ inline T reduce_warp(T x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) x = Operator()(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

// Over the kThreads threads of a block; every thread gets the result.
template <typename Operator, typename T>
__device__ inline T reduce_block(T x) {
  __shared__ T parts[kThreads / kWarp];
  x = reduce_warp<Operator>(x);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = x;
  __syncthreads();
  T all = parts[0];
#pragma unroll
  for (int w = 1; w < kThreads / kWarp; ++w) all = Operator()(all, parts[w]);
  return all;
}

// ---- dropout, the same bits as dropout_keep() of base/rng.h

// The eight 16-bit numbers of columns c, c + 16, ..., c + 112 of a block of 128 columns, two to a word.
__device__ inline PhiloxBlock dropout_numbers(const Mask& mask, int64_t row, int64_t block, uint32_t c) {
  const uint64_t counter = 16 * (static_cast<uint64_t>(row) * mask.blocks_per_row + static_cast<uint64_t>(block)) + c;
  return philox4x32({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), mask.site, mask.step}, mask.key0,
                    mask.key1);
}

__device__ inline bool keeps(const Mask& mask, const PhiloxBlock& numbers, int lane) {
  return ((numbers[static_cast<size_t>(lane / 2)] >> (16 * (lane % 2))) & 0xFFFFu) >= mask.threshold;
}

// 0 or the scale of what is kept; row and column are global.
__device__ inline float dropout_factor(const Mask& mask, int64_t row, int64_t col) {
  const auto within = static_cast<uint32_t>(col % 128);
  const PhiloxBlock numbers = dropout_numbers(mask, row, col / 128, within % 16);
  return keeps(mask, numbers, static_cast<int>(within / 16)) ? mask.scale : 0.0f;
}

inline uint32_t ceil_div(int64_t count, int64_t by) { return static_cast<uint32_t>((count + by - 1) / by); }
inline uint32_t blocks_of_rows(const Area& area) { return ceil_div(area.rows, kRowsOfBlock); }

}  // namespace triax::TRIAX_GPU
