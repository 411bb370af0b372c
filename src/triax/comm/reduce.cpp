#include "triax/comm/reduce.h"

#include <algorithm>
#include <type_traits>

#include "triax/base/error.h"

// Half precision in hardware, and wider vectors, where the CPU that runs this has them.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define TRIAX_FOR_THIS_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TRIAX_FOR_THIS_CPU
#endif

namespace triax {
namespace {

constexpr size_t kBlock = 1024;  // elements accumulated at a time, in the first cache

template <typename T>
using Accumulator = std::conditional_t<std::is_same_v<T, bf16> || std::is_same_v<T, f16>, float, T>;

template <ReduceOp op, typename A>
[[gnu::always_inline]] inline A combine(A a, A b) {
  if constexpr (op == ReduceOp::sum) return static_cast<A>(a + b);
  const bool take = op == ReduceOp::max ? b > a : b < a;
  return take || b != b ? b : a;
}

template <typename T, ReduceOp op>
[[gnu::always_inline]] inline void reduce_typed(std::span<const void* const> sources, T* result, size_t count) {
  using A = Accumulator<T>;
  if (sources.size() == 2) {  // no need to go through a block
    const T* a = static_cast<const T*>(sources[0]);
    const T* b = static_cast<const T*>(sources[1]);
#pragma GCC ivdep  // the result is a source, or none of their elements
    for (size_t i = 0; i < count; ++i)
      result[i] = static_cast<T>(combine<op>(static_cast<A>(a[i]), static_cast<A>(b[i])));
    return;
  }
  A sum[kBlock];
  for (size_t start = 0; start < count; start += kBlock) {
    const size_t length = std::min(kBlock, count - start);
    const T* first = static_cast<const T*>(sources[0]) + start;
    for (size_t i = 0; i < length; ++i) sum[i] = static_cast<A>(first[i]);
    for (size_t s = 1; s < sources.size(); ++s) {
      const T* next = static_cast<const T*>(sources[s]) + start;
      for (size_t i = 0; i < length; ++i) sum[i] = combine<op>(sum[i], static_cast<A>(next[i]));
    }
    for (size_t i = 0; i < length; ++i) result[start + i] = static_cast<T>(sum[i]);
  }
}

template <typename T>
[[gnu::always_inline]] inline void reduce_as(std::span<const void* const> sources, void* result, size_t count,
                                             ReduceOp op) {
  T* typed = static_cast<T*>(result);
  switch (op) {
    case ReduceOp::sum: return reduce_typed<T, ReduceOp::sum>(sources, typed, count);
    case ReduceOp::max: return reduce_typed<T, ReduceOp::max>(sources, typed, count);
    case ReduceOp::min: return reduce_typed<T, ReduceOp::min>(sources, typed, count);
  }
}

using Sources = std::span<const void* const>;
TRIAX_FOR_THIS_CPU void reduce_f64(Sources s, void* r, size_t n, ReduceOp op) { reduce_as<double>(s, r, n, op); }
TRIAX_FOR_THIS_CPU void reduce_f32(Sources s, void* r, size_t n, ReduceOp op) { reduce_as<float>(s, r, n, op); }
TRIAX_FOR_THIS_CPU void reduce_f16(Sources s, void* r, size_t n, ReduceOp op) { reduce_as<f16>(s, r, n, op); }
TRIAX_FOR_THIS_CPU void reduce_bf16(Sources s, void* r, size_t n, ReduceOp op) { reduce_as<bf16>(s, r, n, op); }
TRIAX_FOR_THIS_CPU void reduce_i64(Sources s, void* r, size_t n, ReduceOp op) { reduce_as<int64_t>(s, r, n, op); }
TRIAX_FOR_THIS_CPU void reduce_i32(Sources s, void* r, size_t n, ReduceOp op) { reduce_as<int32_t>(s, r, n, op); }
TRIAX_FOR_THIS_CPU void reduce_u8(Sources s, void* r, size_t n, ReduceOp op) { reduce_as<uint8_t>(s, r, n, op); }

}  // namespace

void check_reducible(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::f32:
    case DType::f16:
    case DType::bf16:
    case DType::i64:
    case DType::i32:
    case DType::u8: return;
    default: fail("there is no reduction of {}; use f64, f32, f16, bf16, i64, i32 or u8", name_of(dtype));
  }
}

void reduce_in_order(Sources sources, void* result, size_t count, DType dtype, ReduceOp op) {
  switch (dtype) {
    case DType::f64: return reduce_f64(sources, result, count, op);
    case DType::f32: return reduce_f32(sources, result, count, op);
    case DType::f16: return reduce_f16(sources, result, count, op);
    case DType::bf16: return reduce_bf16(sources, result, count, op);
    case DType::i64: return reduce_i64(sources, result, count, op);
    case DType::i32: return reduce_i32(sources, result, count, op);
    case DType::u8: return reduce_u8(sources, result, count, op);
    default: check_reducible(dtype);
  }
}

}  // namespace triax
