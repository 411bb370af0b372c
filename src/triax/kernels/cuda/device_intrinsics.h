// The instructions of the hardware that C++ has no words for. The emulation on the host has the same functions.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#define TRIAX_GPU cuda

namespace triax::cuda {

// In what follows T is a 16-bit float that says kIsBf16.

// Throws Error: "CUDA: <what>: <the runtime's explanation>".
[[noreturn]] void fail_cuda(int code, const char* what);

__device__ inline float half_to_float(uint16_t bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}
template <typename T>
__device__ inline uint16_t to_half_bits(float x, T) {
  uint16_t bits;
  if constexpr (T::kIsBf16) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  } else {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  }
  return bits;
}
// Two 16-bit floats in one word, `low` in its lower half.
template <typename T>
__device__ inline uint32_t pack_halves(float low, float high, T) {
  uint32_t word;
  if constexpr (T::kIsBf16) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  }
  return word;
}

// c [16, 8] += a [16, 16] b [16, 8] of one warp. A thread has of a the pairs (rows lane / 4 and + 8; columns 2 * (lane %
// 4) and + 8), of b the pairs (rows 2 * (lane % 4) and + 8) of column lane / 4, of c the pairs of columns 2 * (lane % 4)
// in rows lane / 4 and + 8.
template <typename T>
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, T) {
  if constexpr (T::kIsBf16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// Four 8 x 8 matrices of 16-bit elements from shared memory: lane 8 i + r gives the address of row r of matrix i, and
// every thread gets of each the pair of columns 2 * (lane % 4) in row lane / 4; transposed, the pair of rows 2 * (lane %
// 4) in column lane / 4.
template <bool kTransposed>
__device__ inline void load_matrices(uint32_t (&r)[4], const void* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
  }
}

// 16 bytes from global to shared memory, to be there after wait_for_copies(); `here` false: zeros.
__device__ inline void copy_16_bytes(void* shared, const void* global, bool here) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = here ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(bytes) : "memory");
}
__device__ inline void end_copy_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most kPending groups of copies are in flight.
template <int kPending>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

template <typename T>
__device__ inline T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char all[];
  return reinterpret_cast<T*>(all);
}

struct Grid {
  uint32_t x = 1, y = 1, z = 1;
};

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), Grid grid, int threads, size_t shared, void* stream, Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared > 40 * 1024)  // of 48 KiB, which a kernel's other shared memory counts in
    if (const cudaError_t code =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
        code != cudaSuccess)
      fail_cuda(code, "the shared memory of a kernel");
  kernel<<<dim3(grid.x, grid.y, grid.z), static_cast<unsigned>(threads), shared, static_cast<cudaStream_t>(stream)>>>(
      arguments...);
  if (const cudaError_t code = cudaGetLastError(); code != cudaSuccess) fail_cuda(code, "starting a kernel");
}

}  // namespace triax::cuda
