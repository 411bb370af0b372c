// What the vector kernels share: loading and storing rows of float, bfloat16 or half precision as
// registers of float, and 2^x. Highway style: compiled once per instruction set.
#if defined(TRIAX_KERNELS_CPU_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIAX_KERNELS_CPU_VECTOR_INL_H_
#undef TRIAX_KERNELS_CPU_VECTOR_INL_H_
#else
#define TRIAX_KERNELS_CPU_VECTOR_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "triax/tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using FloatVector = hn::Vec<Floats>;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(Floats()));

HWY_INLINE FloatVector load_floats(const float* from) { return hn::LoadU(Floats(), from); }

HWY_INLINE FloatVector load_floats(const bf16* from) {
  const hn::Rebind<uint16_t, Floats> d16;
  const hn::Rebind<uint32_t, Floats> d32;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(from));
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}

HWY_INLINE void store_floats(FloatVector x, float* to) { hn::StoreU(x, Floats(), to); }

// To nearest even, NaN stays NaN: the rounding of bf16(float).
HWY_INLINE void store_floats(FloatVector x, bf16* to) {
  const hn::Rebind<uint16_t, Floats> d16;
  const hn::Rebind<uint32_t, Floats> d32;
  const hn::Rebind<int32_t, Floats> di;
  const auto u = hn::BitCast(d32, x);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(d32, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(u, hn::Add(odd, hn::Set(d32, 0x7FFFu))));
  const auto quiet = hn::Or(hn::ShiftRight<16>(u), hn::Set(d32, 0x40u));
  const auto bits = hn::IfThenElse(hn::RebindMask(d32, hn::IsNaN(x)), quiet, rounded);
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, bits)), d16, reinterpret_cast<uint16_t*>(to));
}

// Half precision: subnormals kept, to nearest even, infinite beyond 65504, NaN stays NaN: f16(float).
// Where the instruction set has no conversion, that of the compiler is taken, number by number.
#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2) || HWY_TARGET == HWY_NEON
HWY_INLINE FloatVector load_floats(const f16* from) {
  const hn::Rebind<hwy::float16_t, Floats> half;
  return hn::PromoteTo(Floats(), hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(from)));
}
HWY_INLINE void store_floats(FloatVector x, f16* to) {
  const hn::Rebind<hwy::float16_t, Floats> half;
  hn::StoreU(hn::DemoteTo(half, x), half, reinterpret_cast<hwy::float16_t*>(to));
}
#else
HWY_INLINE FloatVector load_floats(const f16* from) {
  alignas(64) float values[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) values[i] = static_cast<float>(from[i]);
  return hn::Load(Floats(), values);
}
HWY_INLINE void store_floats(FloatVector x, f16* to) {
  alignas(64) float values[kLanes];
  hn::Store(x, Floats(), values);
  for (int64_t i = 0; i < kLanes; ++i) to[i] = f16(values[i]);
}
#endif

// to[0, padded) = from[0, count) * factor, then zeros.
template <typename T>
HWY_INLINE void copy_row(const T* HWY_RESTRICT from, int64_t count, float factor,
                         float* HWY_RESTRICT to, int64_t padded) {
  const FloatVector f = hn::Set(Floats(), factor);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store_floats(hn::Mul(load_floats(from + i), f), to + i);
  for (; i < count; ++i) to[i] = static_cast<float>(from[i]) * factor;
  for (; i < padded; ++i) to[i] = 0;
}

// to[0, count) = from[0, count) * factor.
template <typename T>
HWY_INLINE void store_row(const float* HWY_RESTRICT from, int64_t count, float factor,
                          T* HWY_RESTRICT to) {
  const FloatVector f = hn::Set(Floats(), factor);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store_floats(hn::Mul(load_floats(from + i), f), to + i);
  for (; i < count; ++i) to[i] = T(from[i] * factor);
}

// 2^x for x <= 127, to within 1.2 units in the last place; 0 below 2^-126.5; NaN stays NaN.
// x = n + f with |f| <= 1/2: adding 1.5 * 2^23 rounds x to an integer in the low bits of the sum, and
// adding the bias 127 with it makes those bits the exponent of 2^n. The polynomial is the minimax one
// of degree 6 for the relative error of 2^f (1.9e-9 before rounding).
HWY_INLINE FloatVector exp2(FloatVector x) {
  const Floats d;
  const hn::Rebind<int32_t, Floats> di;
  const FloatVector magic = hn::Set(d, 12582912.0f + 127.0f);
  x = hn::Max(hn::Set(d, -127.0f), x);  // in this order the x86 instruction lets NaN through
  const FloatVector shifted = hn::Add(x, magic);
  const FloatVector f = hn::Sub(x, hn::Sub(shifted, magic));
  const FloatVector power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  FloatVector p = hn::MulAdd(hn::Set(d, 0x1.41d334p-13f), f, hn::Set(d, 0x1.5f456ap-10f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.3b2dbcp-7f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.c6aed4p-5f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.ebfbdap-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.62e430p-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  return hn::Mul(p, power);
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#endif  // TRIAX_KERNELS_CPU_VECTOR_INL_H_
