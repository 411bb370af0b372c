#include <bit>
#include <cmath>

#include "triax/kernels/cpu/adamw_factors.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/adamw.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "triax/kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

void update(const AdamWFactors& f, int64_t count, float* param, const float* grad, float* m,
            float* v) {
  const Floats d;
  const auto beta1 = hn::Set(d, f.beta1), beta2 = hn::Set(d, f.beta2);
  const auto grad1 = hn::Set(d, f.grad1), grad2 = hn::Set(d, f.grad2);
  const auto gradient_scale = hn::Set(d, f.gradient_scale), keep = hn::Set(d, f.keep);
  const auto rate = hn::Set(d, f.rate), root = hn::Set(d, f.root);
  const auto epsilon = hn::Set(d, f.epsilon);
  for_lanes(count, [&](int64_t j, auto lanes) HWY_ATTR {
    const auto g = hn::Mul(load(grad + j, lanes), gradient_scale);
    const auto mean = hn::MulAdd(beta1, load(m + j, lanes), hn::Mul(grad1, g));
    const auto square = hn::MulAdd(beta2, load(v + j, lanes), hn::Mul(hn::Mul(grad2, g), g));
    const auto below = hn::MulAdd(hn::Sqrt(square), root, epsilon);
    const auto step = hn::Div(hn::Mul(rate, mean), below);
    store(mean, m + j, lanes);
    store(square, v + j, lanes);
    store(hn::MulSub(load(param + j, lanes), keep, step), param + j, lanes);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(update);

namespace {

// copy[i] = param[begin + i] of a range, rounded stochastically.
void round_row(const AdamWStep& step, const RoundingPlace& place, const float* param, int64_t begin, int64_t count, bf16* copy) {
  int64_t eighth = -1;
  PhiloxBlock numbers{};
  int64_t index = place.index(begin), left_in_row = place.width - (place.first + begin) % place.width;
  for (int64_t i = 0; i < count; ++i, ++index, --left_in_row) {
    if (left_in_row == 0) index = place.index(begin + i), left_in_row = place.width;
    if (index / 8 != eighth) {
      eighth = index / 8;
      numbers = rounding_numbers(step.seed, place.stream, static_cast<uint32_t>(step.step), static_cast<uint64_t>(eighth));
    }
    const uint32_t bits = round_up_by(std::bit_cast<uint32_t>(param[i]), rounding_number(numbers, static_cast<int>(index % 8)));
    copy[i] = std::bit_cast<bf16>(static_cast<uint16_t>(bits));
  }
}

void update_range(const AdamWStep& step, const AdamWRange& range) {
  const AdamWFactors factors = adamw_factors(step, range);
  const bool rounds = step.stochastic_rounding && range.place.width > 0;
  // The copy is made of a stretch whose parameters are still in the first-level cache.
  constexpr int64_t kStretch = 1024;
  parallel_for(range.param.numel(), kPieceElements, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kStretch) {
      const int64_t count = std::min(kStretch, end - i);
      float* p = range.param.data<float>() + i;
      if (range.grad.defined())
        HWY_DYNAMIC_DISPATCH(update)
        (factors, count, p, range.grad.data<float>() + i, range.m.data<float>() + i, range.v.data<float>() + i);
      if (!range.copy.defined()) continue;
      if (rounds) {
        round_row(step, range.place, p, i, count, range.copy.data<bf16>() + i);
        continue;
      }
      with_compute_type(range.copy.dtype(), [&]<typename T>(T) {
        T* copy = range.copy.data<T>() + i;
        if constexpr (std::is_same_v<T, float>) std::copy_n(p, count, copy);
        else convert_row(p, count, copy);
      });
    }
  });
}

}  // namespace

void adamw_update(const AdamWStep& step, std::span<const AdamWRange> ranges) {
  for (const AdamWRange& range : ranges) update_range(step, range);
}

}  // namespace triax::cpu
#endif
