// Both passes are bound by memory: the statistics read each logit once (maximum and sum of a chunk
// while it lies in the first level cache, with the running sum rescaled), the gradient reads and
// writes each once.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/cross_entropy.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/cross_entropy.h"
#include "triax/kernels/cpu/rows.h"
#include "triax/kernels/cpu/vector-inl.h"

#ifndef TRIAX_CROSS_ENTROPY_VOCABULARY
#define TRIAX_CROSS_ENTROPY_VOCABULARY
namespace triax::cpu {
// The columns of logits: `columns` of them, of which the first `valid` belong to the vocabulary.
struct Vocabulary {
  int64_t start, columns, valid;
  // The column of a target, or -1 when it is not one of the valid ones here.
  int64_t column_of(int32_t target) const {
    const int64_t column = target - start;
    return target >= 0 && column >= 0 && column < valid ? column : -1;
  }
};
}  // namespace triax::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
HWY_INLINE float chunk_max(const T* HWY_RESTRICT x, int64_t count) {
  const Floats d;
  FloatVector m0 = hn::Set(d, -kInfinity), m1 = m0, m2 = m0, m3 = m0;
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    m0 = hn::Max(m0, load_floats(x + i));
    m1 = hn::Max(m1, load_floats(x + i + kLanes));
    m2 = hn::Max(m2, load_floats(x + i + 2 * kLanes));
    m3 = hn::Max(m3, load_floats(x + i + 3 * kLanes));
  }
  for (; i + kLanes <= count; i += kLanes) m0 = hn::Max(m0, load_floats(x + i));
  float max = hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(m0, m1), hn::Max(m2, m3))));
  for (; i < count; ++i) max = std::max(max, static_cast<float>(x[i]));
  return max;
}

// The sum of e^(x - shift).
template <typename T>
HWY_INLINE float chunk_sum(const T* HWY_RESTRICT x, int64_t count, float shift) {
  const Floats d;
  const FloatVector s = hn::Set(d, shift), log2e = hn::Set(d, std::numbers::log2e_v<float>);
  FloatVector sum0 = hn::Zero(d), sum1 = sum0;
  int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    sum0 = hn::Add(sum0, exp2(hn::Mul(hn::Sub(load_floats(x + i), s), log2e)));
    sum1 = hn::Add(sum1, exp2(hn::Mul(hn::Sub(load_floats(x + i + kLanes), s), log2e)));
  }
  for (; i + kLanes <= count; i += kLanes)
    sum0 = hn::Add(sum0, exp2(hn::Mul(hn::Sub(load_floats(x + i), s), log2e)));
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  for (; i < count; ++i) sum += std::exp(static_cast<float>(x[i]) - shift);
  return sum;
}

template <typename T>
HWY_INLINE void statistics_row(const T* x, int64_t valid, float* row_max, float* row_sum) {
  constexpr int64_t kChunk = 4096;
  float max = -kInfinity, sum = 0;
  for (int64_t i = 0; i < valid; i += kChunk) {
    const int64_t count = std::min(kChunk, valid - i);
    const float previous = max;
    max = std::max(max, chunk_max(x + i, count));
    // While every logit is -infinity there is nothing to subtract.
    const float shift = max == -kInfinity ? 0 : max;
    if (sum != 0) sum *= std::exp(previous - shift);
    sum += chunk_sum(x + i, count, shift);
  }
  *row_max = max;
  *row_sum = sum;
}

// x <- e^(x - lse) * weight.
template <typename T>
HWY_INLINE void gradient_row(T* x, int64_t valid, float lse, float weight) {
  const Floats d;
  const FloatVector s = hn::Set(d, lse), log2e = hn::Set(d, std::numbers::log2e_v<float>);
  const FloatVector w = hn::Set(d, weight);
  int64_t i = 0;
  for (; i + kLanes <= valid; i += kLanes) {
    const FloatVector p = exp2(hn::Mul(hn::Sub(load_floats(x + i), s), log2e));
    store_floats(hn::Mul(p, w), x + i);
  }
  for (; i < valid; ++i) x[i] = T(std::exp(static_cast<float>(x[i]) - lse) * weight);
}

template <typename T>
HWY_INLINE void statistics(const Tensor& logits, const Tensor& targets, const Vocabulary& vocabulary,
                           const Tensor& row_max, const Tensor& row_sum, const Tensor& target_logit,
                           int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const T* x = logits.data<T>() + i * vocabulary.columns;
    statistics_row(x, vocabulary.valid, row_max.data<float>() + i, row_sum.data<float>() + i);
    const int64_t column = vocabulary.column_of(targets.data<int32_t>()[i]);
    target_logit.data<float>()[i] = column < 0 ? 0 : static_cast<float>(x[column]);
  }
}

template <typename T>
HWY_INLINE void gradient(const Tensor& logits, const Tensor& targets, const Vocabulary& vocabulary,
                         const Tensor& lse, const Tensor& weight, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    T* x = logits.data<T>() + i * vocabulary.columns;
    const float w = weight.data<float>()[i], of_row = lse.data<float>()[i];
    // A token without weight has no gradient, whatever its logits are.
    if (w == 0) {
      std::fill_n(x, vocabulary.columns, T(0.0f));
      continue;
    }
    const int64_t column = vocabulary.column_of(targets.data<int32_t>()[i]);
    const float target = column < 0 ? 0 : static_cast<float>(x[column]);
    gradient_row(x, vocabulary.valid, of_row, w);
    if (column >= 0) x[column] = T((std::exp(target - of_row) - 1) * w);
    std::fill(x + vocabulary.valid, x + vocabulary.columns, T(0.0f));
  }
}

void statistics_f32(const Tensor& logits, const Tensor& targets, const Vocabulary& vocabulary,
                    const Tensor& row_max, const Tensor& row_sum, const Tensor& target_logit,
                    int64_t begin, int64_t end) {
  statistics<float>(logits, targets, vocabulary, row_max, row_sum, target_logit, begin, end);
}
void statistics_bf16(const Tensor& logits, const Tensor& targets, const Vocabulary& vocabulary,
                     const Tensor& row_max, const Tensor& row_sum, const Tensor& target_logit,
                     int64_t begin, int64_t end) {
  statistics<bf16>(logits, targets, vocabulary, row_max, row_sum, target_logit, begin, end);
}
void statistics_f16(const Tensor& logits, const Tensor& targets, const Vocabulary& vocabulary,
                     const Tensor& row_max, const Tensor& row_sum, const Tensor& target_logit,
                     int64_t begin, int64_t end) {
  statistics<f16>(logits, targets, vocabulary, row_max, row_sum, target_logit, begin, end);
}
void gradient_f32(const Tensor& logits, const Tensor& targets, const Vocabulary& vocabulary,
                  const Tensor& lse, const Tensor& weight, int64_t begin, int64_t end) {
  gradient<float>(logits, targets, vocabulary, lse, weight, begin, end);
}
void gradient_bf16(const Tensor& logits, const Tensor& targets, const Vocabulary& vocabulary,
                   const Tensor& lse, const Tensor& weight, int64_t begin, int64_t end) {
  gradient<bf16>(logits, targets, vocabulary, lse, weight, begin, end);
}
void gradient_f16(const Tensor& logits, const Tensor& targets, const Vocabulary& vocabulary,
                   const Tensor& lse, const Tensor& weight, int64_t begin, int64_t end) {
  gradient<f16>(logits, targets, vocabulary, lse, weight, begin, end);
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(statistics_f32);
HWY_EXPORT(statistics_bf16);
HWY_EXPORT(statistics_f16);
HWY_EXPORT(gradient_f32);
HWY_EXPORT(gradient_bf16);
HWY_EXPORT(gradient_f16);

namespace {

Vocabulary vocabulary_of(const Tensor& logits, int64_t vocab_start, int64_t vocab_size) {
  const int64_t columns = logits.dim(1);
  return {vocab_start, columns, std::clamp<int64_t>(vocab_size - vocab_start, 0, columns)};
}

int64_t grain_of(const Tensor& logits) {
  return std::max<int64_t>(1, 65536 / std::max<int64_t>(1, logits.dim(1)));
}

}  // namespace

void softmax_statistics(const Tensor& logits, const Tensor& targets, int64_t vocab_start,
                        int64_t vocab_size, const Tensor& row_max, const Tensor& row_sum,
                        const Tensor& target_logit) {
  const Vocabulary vocabulary = vocabulary_of(logits, vocab_start, vocab_size);
  const auto kernel = version_for(logits.dtype(), &HWY_DYNAMIC_DISPATCH(statistics_f32),
                                  &HWY_DYNAMIC_DISPATCH(statistics_bf16), &HWY_DYNAMIC_DISPATCH(statistics_f16));
  parallel_for(logits.dim(0), grain_of(logits), [&](int64_t begin, int64_t end) {
    kernel(logits, targets, vocabulary, row_max, row_sum, target_logit, begin, end);
  });
}

void cross_entropy_backward(const Tensor& logits, const Tensor& targets, int64_t vocab_start,
                            int64_t vocab_size, const Tensor& lse, const Tensor& weight) {
  const Vocabulary vocabulary = vocabulary_of(logits, vocab_start, vocab_size);
  const auto kernel = version_for(logits.dtype(), &HWY_DYNAMIC_DISPATCH(gradient_f32),
                                  &HWY_DYNAMIC_DISPATCH(gradient_bf16), &HWY_DYNAMIC_DISPATCH(gradient_f16));
  parallel_for(logits.dim(0), grain_of(logits), [&](int64_t begin, int64_t end) {
    kernel(logits, targets, vocabulary, lse, weight, begin, end);
  });
}

}  // namespace triax::cpu
#endif
