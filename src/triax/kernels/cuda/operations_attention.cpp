// Attention: spans and lengths go to the kernels as arguments, so many at a time.
#include "triax/kernels/cuda/operations.h"

#if defined(TRIAX_CUDA) || defined(TRIAX_CUDA_ON_HOST)

#include <vector>

#include "triax/kernels/cuda/operands.h"

namespace triax::TRIAX_GPU::on_gpu {
namespace {

Attention attention_of(const Context&, std::string_view operation, const Tensor& qkv, const AttentionOptions& options,
                       std::initializer_list<const Tensor*> tensors) {
  const int64_t d = qkv.dim(3);
  check(d <= kMaxHeadDim, "{}: a head of {} elements is more than the {} that run on GPUs", operation, d, kMaxHeadDim);
  check(qkv.dim(2) <= 65535 && qkv.dim(0) < (int64_t{1} << 31), "{}: {} is more than runs on GPUs", operation,
        qkv.shape().to_string());
  const bool aligned = std::ranges::all_of(tensors, [](const Tensor* t) { return reinterpret_cast<uintptr_t>(t->raw()) % 16 == 0; });
  return {.type = type_of(qkv),
          .n = qkv.dim(0),
          .heads = static_cast<int32_t>(qkv.dim(2)),
          .d = static_cast<int32_t>(d),
          .causal = options.causal,
          .vector = aligned && d % 8 == 0,
          .scale = options.scale,
          .mask = mask_of(options.dropout, options.max_length),
          .head_offset = options.head_offset,
          .total_heads = options.total_heads,
          .qkv = qkv.raw()};
}

// body(spans) for as many spans at a time as a kernel takes; empty ones are left out.
template <typename Body>
void in_batches(std::span<const Span> all, const Body& body) {
  Spans spans;
  const auto flush = [&] {
    if (spans.count > 0) body(spans);
    spans.count = spans.longest = 0;
  };
  for (const Span& span : all) {
    if (span.length == 0) continue;
    spans.start[spans.count] = static_cast<int32_t>(span.start);
    spans.length[spans.count++] = static_cast<int32_t>(span.length);
    spans.longest = std::max(spans.longest, static_cast<int32_t>(span.length));
    if (spans.count == kMaxSpans) flush();
  }
  flush();
}

std::vector<Span> gaps_between(std::span<const Span> spans, int64_t n) {
  std::vector<Span> sorted(spans.begin(), spans.end()), gaps;
  std::ranges::sort(sorted, {}, &Span::start);
  int64_t covered = 0;
  for (const Span& span : sorted) {
    if (span.length == 0) continue;
    if (span.start > covered) gaps.push_back({covered, span.start - covered});
    covered = span.start + span.length;
  }
  if (covered < n) gaps.push_back({covered, n - covered});
  return gaps;
}

EqualAttention equal_attention(const Tensor& qkv, std::span<const Span> spans, const AttentionOptions& options, const Tensor& out,
                               const Tensor& lse) {
  return {.sequences = equal_sequences(spans, qkv.dim(0)),
          .causal = options.causal,
          .deterministic = options.backend == AttentionBackend::cudnn,
          .scale = options.scale,
          .qkv = qkv, .out = out, .lse = lse, .dout = {}, .dqkv = {}, .scratch = {}};
}

}  // namespace

void attention_forward(const Context& context, const Tensor& qkv, std::span<const Span> spans, const AttentionOptions& options,
                       const Tensor& out, const Tensor& lse) {
  if (attended_by_library(qkv, spans, options)) return context.queue->attend(equal_attention(qkv, spans, options, out, lse));
  Attention a = attention_of(context, "attention_forward", qkv, options, {&qkv, &out});
  a.out = out.raw();
  a.lse = lse.data<float>();
  void* stream = stream_of(context);
  in_batches(spans, [&](const Spans& some) { TRIAX_GPU::attention_forward(stream, a, some); });
  in_batches(gaps_between(spans, a.n), [&](const Spans& some) { attention_zero(stream, a, false, some); });
}

void attention_backward(const Context& context, const Tensor& dout, const Tensor& qkv, const Tensor& out, const Tensor& lse,
                        std::span<const Span> spans, const AttentionOptions& options, const Tensor& dqkv,
                        const Tensor& scratch) {
  if (attended_by_library(qkv, spans, options)) {
    EqualAttention attention = equal_attention(qkv, spans, options, out, lse);
    attention.dout = dout, attention.dqkv = dqkv, attention.scratch = scratch;
    return context.queue->attend(attention);
  }
  Attention a = attention_of(context, "attention_backward", qkv, options, {&qkv, &out, &dout, &dqkv});
  a.out = out.raw();
  a.dout = dout.raw();
  a.lse = lse.data<float>();
  a.dqkv = dqkv.raw();
  a.delta = static_cast<float*>(scratch.raw());
  void* stream = stream_of(context);
  if (a.n == 0) return;
  attention_deltas(stream, a);
  in_batches(spans, [&](const Spans& some) { TRIAX_GPU::attention_backward(stream, a, some); });
  in_batches(gaps_between(spans, a.n), [&](const Spans& some) { attention_zero(stream, a, true, some); });
}

void attention_decode(const Context& context, const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, const Tensor& lengths,
                      int64_t longest, float scale, const Tensor& out) {
  constexpr int64_t kMostSequences = 65535;  // of a grid
  const int64_t b = q.dim(0), most = k_cache.dim(1), of_token = q.dim(1) * q.dim(2);
  if (q.numel() == 0) return;
  check(q.dim(2) <= kMaxHeadDim, "attention_decode: a head of {} elements is more than the {} that run on GPUs", q.dim(2), kMaxHeadDim);
  const auto at = [](const Tensor& tensor, int64_t element) {
    return static_cast<char*>(tensor.raw()) + static_cast<size_t>(element) * size_of(tensor.dtype());
  };
  Decode decode{.type = type_of(q), .heads = static_cast<int32_t>(q.dim(1)), .d = static_cast<int32_t>(q.dim(2)), .most = most,
                .vector = is_aligned(k_cache) && q.dim(2) % 8 == 0, .scale = scale};
  const size_t of_sequence = attention_decode_scratch(decode, longest);
  const Scratch scratch = scratch_of(context, "attention_decode", of_sequence);
  decode.parts = static_cast<float*>(scratch.data);
  const auto fitting = static_cast<int64_t>(of_sequence == 0 ? size_t{kMostSequences} : scratch.bytes / of_sequence);
  const int64_t at_a_time = std::min(fitting, kMostSequences);
  for (int64_t first = 0; first < b; first += at_a_time) {
    decode.q = at(q, first * of_token), decode.out = at(out, first * of_token);
    decode.k = at(k_cache, first * most * of_token), decode.v = at(v_cache, first * most * of_token);
    decode.lengths = lengths.data<int32_t>() + first;
    TRIAX_GPU::attention_decode(stream_of(context), decode, std::min(at_a_time, b - first), longest);
  }
}

}  // namespace triax::TRIAX_GPU::on_gpu

#endif
