#include "triax/kernels/attention.h"

#include <algorithm>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/numbers.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cpu/attention.h"
#include "triax/kernels/dispatch.h"

namespace triax {
namespace {

constexpr auto kForward = "attention_forward", kBackward = "attention_backward",
               kDecode = "attention_decode";

void check_qkv(const Context& context, std::string_view op, const Tensor& qkv) {
  require_compute_type({op, "qkv", qkv});
  check(qkv.rank() == 4 && qkv.dim(1) == 3, "{}: qkv must be [n, 3, heads, head dimension], not {}", op,
        qkv.shape().to_string());
  require(context, {op, "qkv", qkv}, qkv.shape(), qkv.dtype());
  require_contiguous({op, "qkv", qkv});
}

// [n, a, d] of qkv's type.
void check_heads(const Context& context, const Argument& argument, const Tensor& qkv) {
  require(context, argument, {qkv.dim(0), qkv.dim(2), qkv.dim(3)}, qkv.dtype());
  require_contiguous(argument);
}

void check_spans(std::string_view op, std::span<const Span> spans, int64_t n) {
  std::vector<Span> sorted(spans.begin(), spans.end());
  std::sort(sorted.begin(), sorted.end(), [](Span a, Span b) { return a.start < b.start; });
  int64_t end = 0;
  for (const Span& span : sorted) {
    if (span.length == 0) continue;
    check(span.start >= 0 && span.length > 0 && span.length <= n - span.start,
          "{}: a span of {} tokens from token {} does not lie in the batch of {} tokens", op,
          span.length, span.start, n);
    check(span.start >= end, "{}: two spans share token {}", op, span.start);
    end = span.start + span.length;
  }
}

void check_options(std::string_view op, const AttentionOptions& options,
                   std::span<const Span> spans, int64_t heads) {
  if (!options.dropout.active()) return;
  check(options.dropout.probability < 1, "{}: the dropout probability must be below 1, not {}", op,
        options.dropout.probability);
  check(options.head_offset >= 0 && options.head_offset + heads <= options.total_heads,
        "{}: with dropout, head_offset {} and {} heads must lie in total_heads {}", op,
        options.head_offset, heads, options.total_heads);
  for (const Span& span : spans)
    check(span.length <= options.max_length,
          "{}: with dropout, max_length {} must be at least the length of every span, here {}", op,
          options.max_length, span.length);
}

void check_lse(const Context& context, std::string_view op, const Tensor& lse, const Tensor& qkv) {
  require(context, {op, "lse", lse}, {qkv.dim(2), qkv.dim(0)}, DType::f32);
  require_contiguous({op, "lse", lse});
}

// What cuDNN 9.19 asks for on GPUs from sm_80 to sm_100, as tests/kernels/cudnn_attention_test.cpp checks: sums of a query's
// gradient in f32, or all scores' gradients in 16 bits, with lengths rounded up to tiles of 128; and a number a query.
size_t library_scratch(const Tensor& qkv, int64_t sequences, AttentionBackend backend) {
  constexpr int64_t kTile = 128, kOther = 4096;
  const int64_t heads = sequences * qkv.dim(2), length = qkv.dim(0) / sequences, rounded = round_up(length, kTile);
  const int64_t of_head = backend == AttentionBackend::cudnn ? 2 * rounded * rounded : 8 * length * qkv.dim(3);
  return static_cast<size_t>(heads * (of_head + 4 * length) + kOther);
}

}  // namespace

void attention_forward(const Context& context, const Tensor& qkv, std::span<const Span> spans,
                       const AttentionOptions& options, const Tensor& out, const Tensor& lse) {
  check_qkv(context, kForward, qkv);
  check_heads(context, {kForward, "out", out}, qkv);
  check_lse(context, kForward, lse, qkv);
  check_spans(kForward, spans, qkv.dim(0));
  check_options(kForward, options, spans, qkv.dim(2));
  dispatch(context, kForward, cpu::attention_forward, &DeviceOperations::attention_forward, qkv, spans, options, out, lse);
}

std::vector<Span> equal_spans(int64_t sequences, int64_t length) {
  std::vector<Span> spans;
  for (int64_t i = 0; i < sequences; ++i) spans.push_back({i * length, length});
  return spans;
}

int64_t equal_sequences(std::span<const Span> spans, int64_t n) {
  if (spans.empty() || spans[0].length == 0) return 0;
  int64_t at = 0;
  for (const Span& span : spans) {
    if (span.start != at || span.length != spans[0].length) return 0;
    at += span.length;
  }
  return at == n ? static_cast<int64_t>(spans.size()) : 0;
}

bool attended_by_library(const Tensor& qkv, std::span<const Span> spans, const AttentionOptions& options) {
  return options.backend != AttentionBackend::own && qkv.device().kind != Device::Kind::cpu && qkv.dtype() != DType::f32 &&
         !options.dropout.active() && library_has_heads(qkv.dim(3)) && equal_sequences(spans, qkv.dim(0)) > 0;
}

size_t attention_backward_scratch(const Tensor& qkv, std::span<const Span> spans, const AttentionOptions& options) {
  check(qkv.rank() == 4 && qkv.dim(1) == 3,
        "attention_backward_scratch: qkv must be [n, 3, heads, head dimension], not {}",
        qkv.shape().to_string());
  if (attended_by_library(qkv, spans, options)) return library_scratch(qkv, equal_sequences(spans, qkv.dim(0)), options.backend);
  if (qkv.device().kind != Device::Kind::cpu) return static_cast<size_t>(qkv.dim(0) * qkv.dim(2)) * sizeof(float);
  return cpu::attention_backward_scratch(qkv, spans);
}

void attention_backward(const Context& context, const Tensor& dout, const Tensor& qkv,
                        const Tensor& out, const Tensor& lse, std::span<const Span> spans,
                        const AttentionOptions& options, const Tensor& dqkv,
                        const Tensor& scratch) {
  check_qkv(context, kBackward, qkv);
  check_heads(context, {kBackward, "dout", dout}, qkv);
  check_heads(context, {kBackward, "out", out}, qkv);
  check_lse(context, kBackward, lse, qkv);
  require(context, {kBackward, "dqkv", dqkv}, qkv.shape(), qkv.dtype());
  require_contiguous({kBackward, "dqkv", dqkv});
  check_spans(kBackward, spans, qkv.dim(0));
  check_options(kBackward, options, spans, qkv.dim(2));
  require(context, {kBackward, "scratch", scratch}, scratch.shape(), scratch.dtype());
  require_contiguous({kBackward, "scratch", scratch});
  const size_t needed = attention_backward_scratch(qkv, spans, options);
  check(scratch.bytes() >= needed, "{}: scratch must hold {} bytes, not {}", kBackward, needed,
        scratch.bytes());
  dispatch(context, kBackward, cpu::attention_backward, &DeviceOperations::attention_backward, dout, qkv, out, lse, spans, options, dqkv, scratch);
}

void attention_decode(const Context& context, const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, const Tensor& lengths,
                      int64_t longest, float scale, const Tensor& out) {
  require_compute_type({kDecode, "q", q});
  check(q.rank() == 3, "{}: q must be [b, heads, head dimension], not {}", kDecode,
        q.shape().to_string());
  check(k_cache.rank() == 4, "{}: k_cache must be [b, max_s, heads, head dimension], not {}", kDecode,
        k_cache.shape().to_string());
  const int64_t b = q.dim(0), most = k_cache.dim(1);
  const Shape cache = {b, most, q.dim(1), q.dim(2)};
  require(context, {kDecode, "q", q}, q.shape(), q.dtype());
  require(context, {kDecode, "k_cache", k_cache}, cache, q.dtype());
  require(context, {kDecode, "v_cache", v_cache}, cache, q.dtype());
  require(context, {kDecode, "lengths", lengths}, {b}, DType::i32);
  require(context, {kDecode, "out", out}, q.shape(), q.dtype());
  for (const Argument& argument : {Argument{kDecode, "q", q}, {kDecode, "k_cache", k_cache},
                                   {kDecode, "v_cache", v_cache}, {kDecode, "lengths", lengths}, {kDecode, "out", out}})
    require_contiguous(argument);
  check(longest >= 1 && longest <= most, "{}: longest must lie in [1, {}], not {}", kDecode, most, longest);
  if (context.device.on_host())
    for (const int32_t length : lengths.span<int32_t>())
      check(length >= 1 && length <= longest, "{}: a length must lie in [1, {}], not {}", kDecode, longest, length);
  dispatch(context, kDecode, cpu::attention_decode, &DeviceOperations::attention_decode, q, k_cache, v_cache, lengths, longest, scale, out);
}

}  // namespace triax
