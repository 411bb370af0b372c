// The CPU's attention. Arguments have been checked by the functions of the same names in triax::.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "triax/kernels/attention.h"
#include "triax/kernels/cpu/dropout.h"

namespace triax::cpu {

void attention_forward(const Tensor& qkv, std::span<const Span> spans,
                       const AttentionOptions& options, const Tensor& out, const Tensor& lse);
size_t attention_backward_scratch(const Tensor& qkv, std::span<const Span> spans);
void attention_backward(const Tensor& dout, const Tensor& qkv, const Tensor& out, const Tensor& lse,
                        std::span<const Span> spans, const AttentionOptions& options,
                        const Tensor& dqkv, const Tensor& scratch);
void attention_decode(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, const Tensor& lengths, int64_t longest,
                      float scale, const Tensor& out);

// Queries and keys are worked on in blocks of this many: a block of scores and the blocks of q, k, v
// that it comes from stay in the second level cache. One block of a dropout mask is as wide.
constexpr int64_t kAttentionBlock = 128;

// The shape of qkv, and which piece of parallel work is which: the pieces of a span are its heads
// times `slices`, a number that may differ from span to span.
struct AttentionPlan {
  struct Piece {
    int64_t span, head, slice;
  };
  int64_t n, heads, d, padded_d;
  std::span<const Span> spans;
  std::vector<int64_t> first_piece;  // of each span; one more at the end

  template <typename SlicesOfSpan>
  AttentionPlan(const Tensor& qkv, std::span<const Span> all, SlicesOfSpan&& slices)
      : n(qkv.dim(0)), heads(qkv.dim(2)), d(qkv.dim(3)), padded_d((d + 15) / 16 * 16), spans(all) {
    first_piece.reserve(all.size() + 1);
    first_piece.push_back(0);
    for (const Span& span : all) first_piece.push_back(first_piece.back() + heads * slices(span));
  }
  int64_t pieces() const { return first_piece.back(); }
  Piece piece(int64_t index) const {
    const auto next = std::upper_bound(first_piece.begin(), first_piece.end(), index);
    const int64_t span = next - first_piece.begin() - 1, within = index - *(next - 1);
    const int64_t slices = (*next - *(next - 1)) / heads;
    return {span, within / slices, within % slices};
  }
};

inline int64_t attention_blocks(const Span& span) {
  return (span.length + kAttentionBlock - 1) / kAttentionBlock;
}

// Float buffers of one thread, each aligned to 64 bytes, kept from call to call: their size depends
// on the head dimension only (about 450 KiB for d = 64).
class AttentionBuffers {
 public:
  // Forgets what was handed out, and makes room for `floats` in at most 16 buffers.
  void reset(int64_t floats);
  float* take(int64_t floats);

 private:
  std::vector<float> memory_;
  int64_t used_ = 0;
};
AttentionBuffers& attention_buffers();

// Rows that are needed next, brought to the second level cache a few at a time while others are
// computed with: the rows of a head lie far apart, which hardware prefetchers do not follow.
class Prefetcher {
 public:
  template <typename T>
  void add(const T* first, int64_t stride, int64_t rows, int64_t width) {
    streams_[static_cast<size_t>(count_++)] = {reinterpret_cast<const char*>(first),
                                               stride * static_cast<int64_t>(sizeof(T)), rows,
                                               width * static_cast<int64_t>(sizeof(T))};
  }
  void step() {
    constexpr int64_t kRows = 4, kLine = 64;
    for (int s = 0; s < count_; ++s) {
      Stream& stream = streams_[static_cast<size_t>(s)];
      for (int64_t i = std::min(kRows, stream.rows); i > 0; --i, --stream.rows) {
        for (int64_t at = 0; at < stream.width; at += kLine)
          __builtin_prefetch(stream.row + at, 0, 2);
        stream.row += stream.stride;
      }
    }
  }

 private:
  struct Stream {
    const char* row;
    int64_t stride, rows, width;  // in bytes
  };
  std::array<Stream, 4> streams_;
  int count_ = 0;
};

// body(begin, end) for every run of tokens that no span covers.
template <typename Body>
void for_each_gap(std::span<const Span> spans, int64_t n, Body&& body) {
  std::vector<Span> sorted(spans.begin(), spans.end());
  std::sort(sorted.begin(), sorted.end(), [](Span a, Span b) { return a.start < b.start; });
  int64_t covered = 0;
  for (const Span& span : sorted) {
    if (span.length == 0) continue;
    if (span.start > covered) body(covered, span.start);
    covered = span.start + span.length;
  }
  if (covered < n) body(covered, n);
}
// Sets the tokens of x [n, ...] that no span covers to zero.
void zero_outside(std::span<const Span> spans, const Tensor& x);

}  // namespace triax::cpu
