// GELU and its slope, a register at a time. Highway style: compiled once per instruction set.
#if defined(TRIAX_KERNELS_CPU_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIAX_KERNELS_CPU_ACTIVATION_INL_H_
#undef TRIAX_KERNELS_CPU_ACTIVATION_INL_H_
#else
#define TRIAX_KERNELS_CPU_ACTIVATION_INL_H_
#endif

#include <hwy/highway.h>

#include "triax/kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

// 0.5 x (1 + tanh(u)) with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x s with
// s = 1 / (1 + exp(-2 u)): one exponential, and full relative precision in the left tail.
struct GeluTanh {
  static constexpr float kLinear = 0.7978845608028654f;             // sqrt(2 / pi)
  static constexpr float kCubic = 0.7978845608028654f * 0.044715f;  // of u
  static constexpr float kMinusTwoLog2E = -2.885390081777927f;

  static HWY_INLINE FloatVector sigmoid(FloatVector x, FloatVector square) {
    const Floats d;
    const auto inner = hn::MulAdd(square, hn::Set(d, kCubic * kMinusTwoLog2E),
                                  hn::Set(d, kLinear * kMinusTwoLog2E));
    // Kept below 2^127, where the sum below would become infinite (and NaN is let through).
    const auto power = hn::Min(hn::Set(d, 126.0f), hn::Mul(x, inner));
    const auto one = hn::Set(d, 1.0f);
    return hn::Div(one, hn::Add(one, exp2(power)));
  }
  static HWY_INLINE FloatVector value(FloatVector x) {
    return hn::Mul(x, sigmoid(x, hn::Mul(x, x)));
  }
  // s + x s (1 - s) 2 u'
  static HWY_INLINE FloatVector slope(FloatVector x) {
    const Floats d;
    const auto square = hn::Mul(x, x);
    const auto s = sigmoid(x, square);
    const auto twice_du = hn::MulAdd(square, hn::Set(d, 6 * kCubic), hn::Set(d, 2 * kLinear));
    const auto rest = hn::NegMulAdd(s, s, s);
    return hn::MulAdd(hn::Mul(x, rest), twice_du, s);
  }
};

// x Phi(x), Phi the distribution of the standard normal. With z = |x|, Phi(-z) = exp(-z^2 / 2)
// R(z); R is a polynomial in 1 / (1 + 0.3 z), fitted for the smallest relative error (5.8e-8) up to
// z = 14.5, beyond which Phi(-z) is zero in f32. The density exp(-z^2 / 2) / sqrt(2 pi) comes for
// free.
struct GeluErf {
  static HWY_INLINE FloatVector distribution(FloatVector x, FloatVector& gauss) {
    const Floats d;
    const auto one = hn::Set(d, 1.0f), z = hn::Abs(x);
    const auto square = hn::Mul(x, x);
    gauss = exp2(hn::Mul(square, hn::Set(d, -0.7213475204444817f)));  // -log2(e) / 2
    const auto t = hn::Div(one, hn::MulAdd(z, hn::Set(d, 0x1.333334p-2f), one));
    auto r = hn::MulAdd(t, hn::Set(d, 0x1.3aa282p-5f), hn::Set(d, -0x1.5abe4ap-3f));
    r = hn::MulAdd(r, t, hn::Set(d, 0x1.d4e578p-3f));
    r = hn::MulAdd(r, t, hn::Set(d, -0x1.3abdfap-4f));
    r = hn::MulAdd(r, t, hn::Set(d, 0x1.2462b2p-3f));
    r = hn::MulAdd(r, t, hn::Set(d, 0x1.836c04p-4f));
    r = hn::MulAdd(r, t, hn::Set(d, 0x1.f37cfep-4f));
    r = hn::MulAdd(r, t, hn::Set(d, 0x1.e96844p-4f));
    r = hn::MulAdd(r, t, hn::Set(d, 0x1.eecd1ep-18f));
    const auto tail = hn::Mul(gauss, r);
    return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
  }
  static HWY_INLINE FloatVector value(FloatVector x) {
    FloatVector gauss;
    return hn::Mul(x, distribution(x, gauss));
  }
  static HWY_INLINE FloatVector slope(FloatVector x) {
    FloatVector gauss;
    const auto phi = distribution(x, gauss);
    const auto density = hn::Mul(gauss, hn::Set(Floats(), 0.3989422804014327f));
    return hn::MulAdd(x, density, phi);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#endif  // TRIAX_KERNELS_CPU_ACTIVATION_INL_H_
