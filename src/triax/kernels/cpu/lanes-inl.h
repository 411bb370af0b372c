// Walking rows of any length a register at a time. Highway style: compiled once per instruction
// set.
#if defined(TRIAX_KERNELS_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIAX_KERNELS_CPU_LANES_INL_H_
#undef TRIAX_KERNELS_CPU_LANES_INL_H_
#else
#define TRIAX_KERNELS_CPU_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstring>

#include "triax/kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

// Which lanes of a register take part: all, or the first few at the end of a row.
struct AllLanes {};
struct FirstLanes {
  int64_t count;
};

template <typename T>
HWY_INLINE FloatVector load(const T* from, AllLanes) {
  return load_floats(from);
}

// The other lanes are zero.
template <typename T>
HWY_INLINE FloatVector load(const T* from, FirstLanes lanes) {
  alignas(64) T padded[kLanes] = {};
  std::memcpy(static_cast<void*>(padded), from, static_cast<size_t>(lanes.count) * sizeof(T));
  return load_floats(padded);
}

template <typename T>
HWY_INLINE void store(FloatVector x, T* to, AllLanes) {
  store_floats(x, to);
}

template <typename T>
HWY_INLINE void store(FloatVector x, T* to, FirstLanes lanes) {
  alignas(64) T padded[kLanes];
  store_floats(x, padded);
  std::memcpy(static_cast<void*>(to), padded, static_cast<size_t>(lanes.count) * sizeof(T));
}

// The lanes that take part keep x, the others become zero.
HWY_INLINE FloatVector only(FloatVector x, AllLanes) {
  return x;
}
HWY_INLINE FloatVector only(FloatVector x, FirstLanes lanes) {
  const Floats d;
  return hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(lanes.count)), x);
}

// body(j, lanes) for registers at j = 0, kLanes, ... of a row of `count` elements.
template <typename Body>
HWY_INLINE void for_lanes(int64_t count, const Body& body) {
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) body(j, AllLanes());
  if (j < count) body(j, FirstLanes{count - j});
}

HWY_INLINE float sum_of_lanes(FloatVector x) {
  return hn::GetLane(hn::SumOfLanes(Floats(), x));
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#endif  // TRIAX_KERNELS_CPU_LANES_INL_H_
