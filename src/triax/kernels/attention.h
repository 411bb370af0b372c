// Fused multi-head attention: softmax(scale * q k^T) v in blocks with an online softmax, so that no
// s x s matrix is stored (Dao et al. 2022).
#pragma once

#include <span>
#include <vector>

#include "triax/base/rng.h"
#include "triax/kernels/context.h"

namespace triax {

// A run of tokens that attend to each other. One mechanism for a plain batch (one span a sequence),
// for padding (spans shorter than the sequence), for packed batches and for documents that must not
// see each other. Spans are disjoint; tokens in no span get zero output and zero gradient.
struct Span {
  int64_t start = 0;
  int64_t length = 0;
};

// Whose kernels compute it on a GPU: ours, or cuDNN's, for sequences of one length in 16 bits without dropout and heads of up
// to 128 elements, a multiple of 8 (all else is ours). cudnn: the same bits from run to run, for which backward keeps 2 s^2
// bytes a head and sequence; cudnn_fast: sums in any order.
enum class AttentionBackend { own, cudnn, cudnn_fast };

struct AttentionOptions {
  bool causal = true;
  float scale = 1.0f;  // usually 1 / sqrt(head dimension)
  // Dropout of the attention probabilities: row (row_offset + query token) * total_heads +
  // head_offset + head, column the key's index in its span, total_cols = max_length.
  Dropout dropout;
  int64_t head_offset = 0;
  int64_t total_heads = 0;
  int64_t max_length = 0;
  AttentionBackend backend = AttentionBackend::own;
};

// A plain batch: sequences one behind the other.
std::vector<Span> equal_spans(int64_t sequences, int64_t length);
// How many sequences of one length the spans are, one behind the other, with no token left over; 0: they are not.
int64_t equal_sequences(std::span<const Span> spans, int64_t n);
// Has the library heads of d elements?
constexpr bool library_has_heads(int64_t d) { return d % 8 == 0 && d <= 128; }
// Is it the library's that options.backend names? By what is given only, so that a backward goes the way of its forward.
bool attended_by_library(const Tensor& qkv, std::span<const Span> spans, const AttentionOptions& options);

// qkv [n, 3, a, d] (f32, bf16 or f16) -> out [n, a, d]; lse [a, n] f32 (log of the softmax denominator) is
// kept for backward (in an order of its own by cuDNN).
void attention_forward(const Context& context, const Tensor& qkv, std::span<const Span> spans,
                       const AttentionOptions& options, const Tensor& out, const Tensor& lse);

// Bytes of scratch that attention_backward needs.
size_t attention_backward_scratch(const Tensor& qkv, std::span<const Span> spans, const AttentionOptions& options = {});

// dqkv [n, 3, a, d] = gradient for dout [n, a, d]. Recomputes the probabilities from qkv and lse.
void attention_backward(const Context& context, const Tensor& dout, const Tensor& qkv,
                        const Tensor& out, const Tensor& lse, std::span<const Span> spans,
                        const AttentionOptions& options, const Tensor& dqkv,
                        const Tensor& scratch);

// Generation: one new query per sequence against its cache. q [b, a, d]; k_cache, v_cache [b, max_s, a, d]; lengths i32 [b]:
// so many keys of a sequence are valid (the newest included), `longest` at most; out [b, a, d].
void attention_decode(const Context& context, const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, const Tensor& lengths,
                      int64_t longest, float scale, const Tensor& out);

}  // namespace triax
