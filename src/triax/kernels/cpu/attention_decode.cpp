// One query per sequence over its cache. Bound by memory: a piece of work reads a run of tokens, all
// heads, as it lies in memory, and leaves maximum, sum and weighted values; these partial results are
// then combined in order.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/attention_decode.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/attention.h"
#include "triax/kernels/cpu/rows.h"
#include "triax/kernels/cpu/vector-inl.h"

#ifndef TRIAX_ATTENTION_DECODE_ARGUMENTS
#define TRIAX_ATTENTION_DECODE_ARGUMENTS
namespace triax::cpu {

constexpr int64_t kDecodeTokens = 64;

struct DecodeArguments {
  const Tensor &q, &k, &v, &out;
  std::span<const int32_t> lengths;
  float scale_log2e;
  int64_t heads, d, width;           // width: floats of one partial result
  std::vector<int64_t> first_chunk;  // of each sequence; one more at the end
  std::vector<float> partial;        // [chunks, heads, width]: maximum, sum, then values [d]

  float* partial_of(int64_t chunk, int64_t head) {
    return partial.data() + (chunk * heads + head) * width;
  }
};

}  // namespace triax::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

template <typename T>
HWY_INLINE float dot(const T* HWY_RESTRICT x, const T* HWY_RESTRICT y, int64_t d) {
  const Floats df;
  FloatVector sum = hn::Zero(df);
  int64_t c = 0;
  for (; c + kLanes <= d; c += kLanes)
    sum = hn::MulAdd(load_floats(x + c), load_floats(y + c), sum);
  float total = hn::GetLane(hn::SumOfLanes(df, sum));
  for (; c < d; ++c) total += static_cast<float>(x[c]) * static_cast<float>(y[c]);
  return total;
}

// to += weight * from.
template <typename T>
HWY_INLINE void add_weighted(const T* HWY_RESTRICT from, float weight, int64_t d,
                             float* HWY_RESTRICT to) {
  const FloatVector w = hn::Set(Floats(), weight);
  int64_t c = 0;
  for (; c + kLanes <= d; c += kLanes)
    store_floats(hn::MulAdd(load_floats(from + c), w, load_floats(to + c)), to + c);
  for (; c < d; ++c) to[c] += weight * static_cast<float>(from[c]);
}

// scores <- 2^(scores - max) over one head's tokens; their maximum and sum go to `partial`.
HWY_INLINE void softmax(float* scores, int64_t count, float* partial) {
  const Floats d;
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  std::fill(scores + count, scores + padded, -std::numeric_limits<float>::infinity());
  FloatVector max = hn::Load(d, scores), sum = hn::Zero(d);
  for (int64_t i = kLanes; i < padded; i += kLanes) max = hn::Max(max, hn::Load(d, scores + i));
  max = hn::MaxOfLanes(d, max);
  for (int64_t i = 0; i < padded; i += kLanes) {
    const FloatVector p = exp2(hn::Sub(hn::Load(d, scores + i), max));
    sum = hn::Add(sum, p);
    hn::Store(p, d, scores + i);
  }
  partial[0] = hn::GetLane(max);
  partial[1] = hn::GetLane(hn::SumOfLanes(d, sum));
}

template <typename T>
HWY_INLINE void decode_chunk(DecodeArguments& args, int64_t chunk) {
  const auto next = std::upper_bound(args.first_chunk.begin(), args.first_chunk.end(), chunk);
  const int64_t sequence = next - args.first_chunk.begin() - 1;
  const int64_t begin = (chunk - *(next - 1)) * kDecodeTokens;
  const int64_t length = args.lengths[static_cast<size_t>(sequence)];
  const int64_t tokens = std::min(kDecodeTokens, length - begin);
  const int64_t heads = args.heads, d = args.d;
  const int64_t start = (sequence * args.k.dim(1) + begin) * heads * d;
  const T *k = args.k.data<T>() + start, *v = args.v.data<T>() + start;
  const T* q = args.q.data<T>() + sequence * heads * d;

  constexpr int64_t kHeads = 16;  // as many heads at a time as have their scores on the stack
  alignas(64) float scores[kHeads][kDecodeTokens];
  for (int64_t first = 0; first < heads; first += kHeads) {
    const int64_t count = std::min(kHeads, heads - first);
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t a = 0; a < count; ++a)
        scores[a][t] =
            args.scale_log2e * dot(q + (first + a) * d, k + (t * heads + first + a) * d, d);
    for (int64_t a = 0; a < count; ++a) softmax(scores[a], tokens, args.partial_of(chunk, first + a));
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t a = 0; a < count; ++a)
        add_weighted(v + (t * heads + first + a) * d, scores[a][t], d,
                     args.partial_of(chunk, first + a) + 2);
  }
}

template <typename T>
HWY_INLINE void combine_chunks(DecodeArguments& args, int64_t sequence) {
  const int64_t begin = args.first_chunk[static_cast<size_t>(sequence)];
  const int64_t end = args.first_chunk[static_cast<size_t>(sequence) + 1];
  for (int64_t a = 0; a < args.heads; ++a) {
    float* total = args.partial_of(begin, a);
    for (int64_t chunk = begin + 1; chunk < end; ++chunk) {
      const float* part = args.partial_of(chunk, a);
      const float max = std::max(total[0], part[0]);
      const float old_weight = std::exp2(total[0] - max), weight = std::exp2(part[0] - max);
      for (int64_t c = 1; c < args.d + 2; ++c) total[c] = total[c] * old_weight + part[c] * weight;
      total[0] = max;
    }
    store_row(total + 2, args.d, 1 / total[1],
              args.out.data<T>() + (sequence * args.heads + a) * args.d);
  }
}

void decode_f32(DecodeArguments& args, int64_t chunk) { decode_chunk<float>(args, chunk); }
void decode_bf16(DecodeArguments& args, int64_t chunk) { decode_chunk<bf16>(args, chunk); }
void decode_f16(DecodeArguments& args, int64_t chunk) { decode_chunk<f16>(args, chunk); }
void combine_f32(DecodeArguments& args, int64_t sequence) { combine_chunks<float>(args, sequence); }
void combine_bf16(DecodeArguments& args, int64_t sequence) { combine_chunks<bf16>(args, sequence); }
void combine_f16(DecodeArguments& args, int64_t sequence) { combine_chunks<f16>(args, sequence); }

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(decode_f32);
HWY_EXPORT(decode_bf16);
HWY_EXPORT(decode_f16);
HWY_EXPORT(combine_f32);
HWY_EXPORT(combine_bf16);
HWY_EXPORT(combine_f16);

void attention_decode(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, const Tensor& lengths, int64_t,
                      float scale, const Tensor& out) {
  DecodeArguments args = {q, k_cache, v_cache, out, lengths.span<int32_t>(), scale * std::numbers::log2e_v<float>,
                          q.dim(1), q.dim(2), q.dim(2) + 2, {0}, {}};
  for (const int64_t length : args.lengths)
    args.first_chunk.push_back(args.first_chunk.back() + (length + kDecodeTokens - 1) / kDecodeTokens);
  args.partial.resize(static_cast<size_t>(args.first_chunk.back() * args.heads * args.width));
  const auto decode = version_for(q.dtype(), &HWY_DYNAMIC_DISPATCH(decode_f32), &HWY_DYNAMIC_DISPATCH(decode_bf16),
                                  &HWY_DYNAMIC_DISPATCH(decode_f16));
  const auto combine = version_for(q.dtype(), &HWY_DYNAMIC_DISPATCH(combine_f32),
                                   &HWY_DYNAMIC_DISPATCH(combine_bf16), &HWY_DYNAMIC_DISPATCH(combine_f16));
  parallel_pieces(args.first_chunk.back(), [&](int64_t i) { decode(args, i); });
  parallel_pieces(q.dim(0), [&](int64_t i) { combine(args, i); });
}

}  // namespace triax::cpu
#endif
