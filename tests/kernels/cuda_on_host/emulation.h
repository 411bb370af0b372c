// CUDA's language on the host, as far as src/triax/kernels/cuda uses it: the kernels' own sources are compiled against
// this header, and a launch runs their blocks one after the other. A block's threads are fibers that give way at barriers
// and at what a warp does together. What memory costs and what threads race for is not seen; the arithmetic is.
#pragma once

#include <math.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "triax/tensor/dtype.h"

#define TRIAX_GPU cuda_on_host
#define __global__
#define __grid_constant__
#define __device__
#define __shared__ static
#define __launch_bounds__(threads)

namespace triax::cuda_on_host {

struct Index {
  uint32_t x = 0, y = 0, z = 0;
};
struct Grid {
  uint32_t x = 1, y = 1, z = 1;
};
struct FiberPlace {
  Index thread, block;
  Grid grid, threads;
};
// Of the fiber that runs.
extern const FiberPlace* fiber_place;

// Runs body as every thread of every block. Throws Error when threads wait for each other in vain, or when a shared array
// was not written before it was read where that can be seen (dynamic shared memory begins as NaN).
void run_blocks(Grid grid, int threads, size_t shared_bytes, const std::function<void()>& body);
void wait_for_block();
// Gives what this lane says to the others of its warp, and returns an array of what each of the 32 lanes said.
constexpr size_t kSaid = 32;  // bytes a lane can say
const unsigned char* say(const void* what, size_t bytes);
void* shared_memory();
void copy_later(void* to, const void* from, bool here);
void end_copy_group();
void finish_copies(int pending_groups);

// Where launches are noted, with the arguments they have now, instead of being run; null: they are run.
extern std::vector<std::function<void()>>* recording;

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), Grid grid, int threads, size_t shared, void*, Arguments... arguments) {
  const auto run = [=] { run_blocks(grid, threads, shared, [&] { kernel(arguments...); }); };
  if (recording) return recording->push_back(run);
  run();
}

#define threadIdx (::triax::cuda_on_host::fiber_place->thread)
#define blockIdx (::triax::cuda_on_host::fiber_place->block)
#define blockDim (::triax::cuda_on_host::fiber_place->threads)
#define gridDim (::triax::cuda_on_host::fiber_place->grid)

inline void __syncthreads() { wait_for_block(); }
inline void __syncwarp() { say(nullptr, 0); }

template <typename T>
T heard(const unsigned char* all, uint32_t lane) {
  T value;
  std::memcpy(&value, all + lane * kSaid, sizeof value);
  return value;
}
inline uint32_t lane_index() { return threadIdx.x % 32; }

template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return heard<T>(say(&value, sizeof value), static_cast<uint32_t>(lane));
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return heard<T>(say(&value, sizeof value), lane_index() ^ static_cast<uint32_t>(mask));
}
inline uint32_t __ballot_sync(unsigned, bool value) {
  const unsigned char* all = say(&value, sizeof value);
  uint32_t bits = 0;
  for (uint32_t lane = 0; lane < 32; ++lane) bits |= uint32_t{heard<bool>(all, lane)} << lane;
  return bits;
}

inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
// A table of all values: without the hardware's instruction a conversion is a call.
extern const float* const half_values;
inline float half_to_float(uint16_t bits) { return half_values[bits]; }
template <typename T>
uint16_t to_half_bits(float x, T) {
  if constexpr (T::kIsBf16) {
    return triax::bf16(x).bits;
  } else {
    return std::bit_cast<uint16_t>(triax::f16(x));
  }
}
template <typename T>
uint32_t pack_halves(float low, float high, T type) {
  return uint32_t{to_half_bits(low, type)} | uint32_t{to_half_bits(high, type)} << 16;
}
template <typename T>
float half_of(uint32_t word, uint32_t which) {
  const auto bits = static_cast<uint16_t>(word >> (16 * which));
  return T::kIsBf16 ? std::bit_cast<float>(uint32_t{bits} << 16) : half_to_float(bits);
}

// mma.sync.m16n8k16: see device_intrinsics.h for who has what.
template <typename T>
void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, T) {
  struct Operands {
    uint32_t a[4], b[2];
  } mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const unsigned char* all = say(&mine, sizeof mine);
  const uint32_t lane = lane_index();
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t row = lane / 4, col = lane % 4 * 2 + i % 2, low = i / 2;  // row + 8 * low
    float sum = 0;
    for (uint32_t quad = 0; quad < 4; ++quad) {
      const auto left = heard<Operands>(all, row * 4 + quad), right = heard<Operands>(all, col * 4 + quad);
      for (uint32_t half = 0; half < 2; ++half)
        for (uint32_t pair = 0; pair < 2; ++pair)
          sum += half_of<T>(left.a[low + 2 * half], pair) * half_of<T>(right.b[half], pair);
    }
    c[i] += sum;
  }
}

// ldmatrix.x4
template <bool kTransposed>
void load_matrices(uint32_t (&r)[4], const void* row) {
  const unsigned char* all = say(&row, sizeof row);
  const uint32_t lane = lane_index(), across = lane / 4, along = lane % 4 * 2;
  const auto element = [&](uint32_t matrix, uint32_t at_row, uint32_t at_col) {
    return uint32_t{heard<const uint16_t*>(all, 8 * matrix + at_row)[at_col]};
  };
  for (uint32_t m = 0; m < 4; ++m)
    r[m] = kTransposed ? element(m, along, across) | element(m, along + 1, across) << 16
                       : element(m, across, along) | element(m, across, along + 1) << 16;
}

inline void copy_16_bytes(void* shared, const void* global, bool here) { copy_later(shared, global, here); }
template <int kPending>
void wait_for_copies() {
  finish_copies(kPending);
}
template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(shared_memory());
}

}  // namespace triax::cuda_on_host
