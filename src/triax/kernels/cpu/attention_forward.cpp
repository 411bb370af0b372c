// softmax(scale * q k^T) v for one block of queries at a time. The scores are held transposed, keys
// down and queries across, so that a register holds one key's scores for neighbouring queries: running
// maximum and sum of the online softmax are registers too, k and v are used as they lie, and only the
// block of q is transposed, once. The unit of the scores is log2, so that the softmax is made of 2^x.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/attention_forward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/attention.h"
#include "triax/kernels/cpu/dropout-inl.h"
#include "triax/kernels/cpu/rows.h"
#include "triax/kernels/cpu/tile-inl.h"

#ifndef TRIAX_ATTENTION_FORWARD_ARGUMENTS
#define TRIAX_ATTENTION_FORWARD_ARGUMENTS
namespace triax::cpu {
struct ForwardArguments {
  const AttentionPlan& plan;
  const AttentionOptions& options;
  const DropoutMask& mask;
  const Tensor &qkv, &out, &lse;
  int64_t threads;
};
}  // namespace triax::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

constexpr int64_t kBlock = kAttentionBlock;

struct ForwardBuffers {
  float *q, *k, *v, *scores, *factors, *out, *max, *sum, *decay;
  ForwardBuffers(AttentionBuffers& buffers, int64_t padded_d, bool dropout) {
    buffers.reset(4 * kBlock * padded_d + (dropout ? 2 : 1) * kBlock * kBlock + 3 * kBlock);
    q = buffers.take(kBlock * padded_d);
    k = buffers.take(kBlock * padded_d);
    v = buffers.take(kBlock * padded_d);
    out = buffers.take(kBlock * padded_d);
    scores = buffers.take(kBlock * kBlock);
    max = buffers.take(kBlock);
    sum = buffers.take(kBlock);
    decay = buffers.take(kBlock);
    factors = dropout ? buffers.take(kBlock * kBlock) : nullptr;
  }
};

// One block of queries against one block of keys. Key j is visible to query i iff j + shift <= i.
struct KeyBlock {
  int64_t queries, keys, d, padded_d, shift;
  bool causal, first;
  // Registers of queries, from the left, that do not see key j.
  int64_t hidden(int64_t j, int64_t first_query) const {
    return causal ? std::clamp<int64_t>((j + shift - first_query) / kLanes, 0, kTileVectors) : 0;
  }
  // How many keys the queries before `query` see between them.
  int64_t visible(int64_t query) const {
    return causal ? std::clamp<int64_t>(query - shift, 0, keys) : keys;
  }
};

// The queries [begin, begin + vectors * kLanes) of a block: a column of the transposed scores.
struct QueryPanel {
  int64_t begin, vectors, keys;
};

// scores = k q^T, and max = the greatest score of each query so far.
HWY_INLINE void panel_scores(const KeyBlock& block, const QueryPanel& panel,
                             const ForwardBuffers& buffers, float* HWY_RESTRICT max,
                             Prefetcher& next) {
  const Floats d;
  const float* q = buffers.q + panel.begin * block.padded_d;
  for (int64_t j = 0; j < panel.keys; j += kTileRows) {
    next.step();
    const int64_t rows = std::min(kTileRows, panel.keys - j);
    const int64_t skip = block.hidden(j, panel.begin);
    float* scores = buffers.scores + j * kBlock + panel.begin;
    tile_product<Order::rows>(rows, panel.vectors - skip, block.d,
                              {buffers.k + j * block.padded_d, block.padded_d},
                              {q + skip * kLanes, kTileColumns}, scores + skip * kLanes, kBlock,
                              kOverwrite);
    const int64_t last = j + rows - 1 + block.shift;
    for (int64_t v = skip; v < panel.vectors; ++v) {
      FloatVector m = hn::Load(d, max + v * kLanes);
      if (block.causal && last > panel.begin + v * kLanes) {
        const FloatVector query = hn::Iota(d, static_cast<float>(panel.begin + v * kLanes));
        for (int64_t r = 0; r < rows; ++r) {
          const FloatVector key = hn::Set(d, static_cast<float>(j + r + block.shift));
          const FloatVector score = hn::Load(d, scores + r * kBlock + v * kLanes);
          m = hn::IfThenElse(hn::Le(key, query), hn::Max(m, score), m);
        }
      } else {
        for (int64_t r = 0; r < rows; ++r)
          m = hn::Max(m, hn::Load(d, scores + r * kBlock + v * kLanes));
      }
      hn::Store(m, d, max + v * kLanes);
    }
  }
}

// scores <- 2^(scores - max), times the dropout factors; sum += the sum before dropout. kVectors
// registers of queries at a time.
template <int kVectors>
HWY_INLINE void panel_softmax(const KeyBlock& block, const QueryPanel& panel, int64_t offset,
                              const ForwardBuffers& buffers) {
  const Floats d;
  const int64_t first_query = panel.begin + offset * kLanes;
  FloatVector max[kVectors], sum[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    max[v] = hn::Load(d, buffers.max + first_query + v * kLanes);
    sum[v] = hn::Load(d, buffers.sum + first_query + v * kLanes);
  }
  // Keys before `full` are visible to all these queries, those from panel.keys on to none. A product
  // with a block of rows reads up to kTileRows - 1 keys past the last visible one: zeros.
  const int64_t full = block.visible(first_query + 1);
  const int64_t end = std::min(block.keys, panel.keys + kTileRows - 1);
  for (int64_t j = 0; j < std::min(full, panel.keys); ++j) {
    float* row = buffers.scores + j * kBlock + first_query;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      FloatVector p = exp2(hn::Sub(hn::Load(d, row + v * kLanes), max[v]));
      sum[v] = hn::Add(sum[v], p);
      if (buffers.factors)
        p = hn::Mul(p, hn::Load(d, buffers.factors + j * kBlock + first_query + v * kLanes));
      hn::Store(p, d, row + v * kLanes);
    }
  }
  for (int64_t j = full; j < end; ++j) {
    float* row = buffers.scores + j * kBlock + first_query;
    const FloatVector key = hn::Set(d, static_cast<float>(j + block.shift));
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const FloatVector query = hn::Iota(d, static_cast<float>(first_query + v * kLanes));
      FloatVector p = exp2(hn::Sub(hn::Load(d, row + v * kLanes), max[v]));
      p = hn::IfThenElseZero(hn::Le(key, query), p);
      sum[v] = hn::Add(sum[v], p);
      if (buffers.factors)
        p = hn::Mul(p, hn::Load(d, buffers.factors + j * kBlock + first_query + v * kLanes));
      hn::Store(p, d, row + v * kLanes);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) hn::Store(sum[v], d, buffers.sum + first_query + v * kLanes);
}

HWY_NOINLINE void score_panel(const KeyBlock& block, const QueryPanel& panel,
                            const ForwardBuffers& buffers, Prefetcher& next) {
  const Floats d;
  alignas(64) float max[kTileColumns];
  for (int64_t v = 0; v < panel.vectors; ++v)
    hn::Store(hn::Load(d, buffers.max + panel.begin + v * kLanes), d, max + v * kLanes);
  panel_scores(block, panel, buffers, max, next);
  for (int64_t v = 0; v < panel.vectors; ++v) {
    const int64_t query = panel.begin + v * kLanes;
    const FloatVector now = hn::Load(d, max + v * kLanes);
    const FloatVector decay = exp2(hn::Sub(hn::Load(d, buffers.max + query), now));
    hn::Store(decay, d, buffers.decay + query);
    hn::Store(hn::Mul(hn::Load(d, buffers.sum + query), decay), d, buffers.sum + query);
    hn::Store(now, d, buffers.max + query);
  }
  if (panel.vectors == kTileVectors) return panel_softmax<kTileVectors>(block, panel, 0, buffers);
  for (int64_t v = 0; v < panel.vectors; ++v) panel_softmax<1>(block, panel, v, buffers);
}

// out = out * decay + p v.
HWY_NOINLINE void add_values(const KeyBlock& block, const ForwardBuffers& buffers) {
  const int64_t vectors = (block.d + kLanes - 1) / kLanes;
  for (int64_t v = 0; v < vectors; v += kTileVectors)
    for (int64_t i = 0; i < block.queries; i += kTileRows) {
      const int64_t rows = std::min(kTileRows, block.queries - i);
      const int64_t keys = block.visible(i + rows);
      if (keys == 0) continue;
      tile_product<Order::columns>(rows, std::min(kTileVectors, vectors - v), keys,
                                   {buffers.scores + i, kBlock},
                                   {buffers.v + v * kLanes, block.padded_d},
                                   buffers.out + i * block.padded_d + v * kLanes, block.padded_d,
                                   block.first ? kOverwrite : buffers.decay + i);
    }
}

// The block of q, scaled, as panels of kTileColumns queries: panel p has its [d, kTileColumns] at
// q + p * kTileColumns * padded_d. Queries past the end are zeros.
template <typename T>
HWY_INLINE void pack_queries(const T* from, int64_t stride, int64_t queries, float factor,
                             int64_t d, int64_t padded_d, const ForwardBuffers& buffers) {
  const int64_t padded = (queries + 15) / 16 * 16;
  float* rows = buffers.out;
  for (int64_t i = 0; i < queries; ++i)
    copy_row(from + i * stride, d, factor, rows + i * padded_d, padded_d);
  std::fill(rows + queries * padded_d, rows + padded * padded_d, 0.0f);
  for (int64_t i = 0; i < padded; i += kTileColumns)
    transpose(rows + i * padded_d, padded_d, std::min(kTileColumns, padded - i), d,
              buffers.q + i * padded_d, kTileColumns);
}

template <typename T>
HWY_INLINE void write_block(const ForwardArguments& args, int64_t token, int64_t head,
                            int64_t queries, const ForwardBuffers& buffers) {
  const AttentionPlan& plan = args.plan;
  T* out = args.out.data<T>() + (token * plan.heads + head) * plan.d;
  float* lse = args.lse.data<float>() + head * plan.n + token;
  for (int64_t i = 0; i < queries; ++i) {
    store_row(buffers.out + i * plan.padded_d, plan.d, 1.0f / buffers.sum[i],
              out + i * plan.heads * plan.d);
    lse[i] = std::numbers::ln2_v<float> * (buffers.max[i] + std::log2(buffers.sum[i]));
  }
}

// Where a piece finds its block of queries, and its span's keys and values.
template <typename T>
struct ForwardPiece {
  int64_t head, token, begin, queries, keys;  // token: the span's first
  const T *q, *k, *v;

  ForwardPiece(const ForwardArguments& args, int64_t index) {
    const AttentionPlan& plan = args.plan;
    const auto piece = plan.piece(index);
    const Span& span = plan.spans[static_cast<size_t>(piece.span)];
    head = piece.head, token = span.start;
    // The last queries see most keys: longest pieces first.
    begin = (attention_blocks(span) - 1 - piece.slice) * kBlock;
    queries = std::min(kBlock, span.length - begin);
    keys = args.options.causal ? begin + queries : span.length;
    q = args.qkv.data<T>() + (token * 3 * plan.heads + head) * plan.d;
    k = q + plan.heads * plan.d, v = k + plan.heads * plan.d;
  }
};

// What will be read after the block of keys that starts at `first`: the next one, or else the piece
// that this thread is likely to take next; and the rows of out, when they are about to be written.
template <typename T>
HWY_INLINE Prefetcher prefetch_next(const ForwardArguments& args, const ForwardPiece<T>& piece,
                                    int64_t index, int64_t first) {
  const int64_t heads = args.plan.heads, d = args.plan.d, stride = 3 * heads * d;
  Prefetcher next;
  const int64_t second = first + kBlock;
  if (second < piece.keys) {
    next.add(piece.k + second * stride, stride, std::min(kBlock, piece.keys - second), d);
    next.add(piece.v + second * stride, stride, std::min(kBlock, piece.keys - second), d);
    return next;
  }
  next.add(args.out.data<T>() + ((piece.token + piece.begin) * heads + piece.head) * d, heads * d,
           piece.queries, d);
  const int64_t likely = index + args.threads;
  if (likely < args.plan.pieces()) {
    const ForwardPiece<T> other(args, likely);
    next.add(other.q + other.begin * stride, stride, other.queries, d);
    next.add(other.k, stride, std::min(kBlock, other.keys), d);
    next.add(other.v, stride, std::min(kBlock, other.keys), d);
  }
  return next;
}

template <typename T>
HWY_INLINE void forward_piece(const ForwardArguments& args, int64_t index) {
  const AttentionPlan& plan = args.plan;
  const AttentionOptions& options = args.options;
  const ForwardPiece<T> piece(args, index);
  const int64_t stride = 3 * plan.heads * plan.d, ld = plan.padded_d, begin = piece.begin;
  const bool dropout = options.dropout.active();
  const ForwardBuffers buffers(attention_buffers(), ld, dropout);

  pack_queries(piece.q + begin * stride, stride, piece.queries,
               options.scale * std::numbers::log2e_v<float>, plan.d, ld, buffers);
  std::fill_n(buffers.max, kBlock, -std::numeric_limits<float>::infinity());
  std::fill_n(buffers.sum, kBlock, 0.0f);

  const int64_t all_vectors = (piece.queries + kLanes - 1) / kLanes;
  for (int64_t first = 0; first < piece.keys; first += kBlock) {
    const KeyBlock block = {piece.queries, std::min(kBlock, piece.keys - first), plan.d, ld,
                            first - begin, options.causal, first == 0};
    for (int64_t j = 0; j < block.keys; ++j) {
      copy_row(piece.k + (first + j) * stride, plan.d, 1, buffers.k + j * ld, ld);
      copy_row(piece.v + (first + j) * stride, plan.d, 1, buffers.v + j * ld, ld);
    }
    if (dropout)
      dropout_block_transposed(
          args.mask,
          (options.dropout.row_offset + piece.token + begin) * options.total_heads +
              options.head_offset + piece.head,
          options.total_heads, piece.queries, first / kBlock, buffers.factors, kBlock);
    Prefetcher next = prefetch_next(args, piece, index, first);
    for (int64_t from = 0; from < all_vectors; from += kTileVectors) {
      const int64_t vectors = std::min(kTileVectors, all_vectors - from);
      score_panel(block, {from * kLanes, vectors, block.visible((from + vectors) * kLanes)}, buffers,
                  next);
    }
    add_values(block, buffers);
  }
  write_block<T>(args, piece.token + begin, piece.head, piece.queries, buffers);
}

void forward_f32(const ForwardArguments& args, int64_t index) { forward_piece<float>(args, index); }
void forward_bf16(const ForwardArguments& args, int64_t index) { forward_piece<bf16>(args, index); }
void forward_f16(const ForwardArguments& args, int64_t index) { forward_piece<f16>(args, index); }

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(forward_f32);
HWY_EXPORT(forward_bf16);
HWY_EXPORT(forward_f16);

void attention_forward(const Tensor& qkv, std::span<const Span> spans,
                       const AttentionOptions& options, const Tensor& out, const Tensor& lse) {
  zero_outside(spans, out);
  for_each_gap(spans, qkv.dim(0), [&](int64_t begin, int64_t end) {
    float* of_head = lse.data<float>();
    for (int64_t a = 0; a < lse.dim(0); ++a, of_head += lse.dim(1))
      std::fill(of_head + begin, of_head + end, 0.0f);
  });
  const AttentionPlan plan(qkv, spans, attention_blocks);
  const DropoutMask mask(options.dropout, options.max_length);
  const ForwardArguments args = {plan, options, mask, qkv, out, lse, num_threads()};
  const auto kernel = version_for(qkv.dtype(), &HWY_DYNAMIC_DISPATCH(forward_f32),
                                  &HWY_DYNAMIC_DISPATCH(forward_bf16), &HWY_DYNAMIC_DISPATCH(forward_f16));
  parallel_pieces(plan.pieces(), [&](int64_t i) { kernel(args, i); });
}

}  // namespace triax::cpu
#endif
