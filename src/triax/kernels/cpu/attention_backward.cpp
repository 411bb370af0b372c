// Gradients of attention, from the probabilities recomputed out of q, k and lse: for each block of
// keys, whose dk and dv stay in the cache, all blocks of queries that see it.
//
//   p = 2^(scale log2(e) q k^T - log2(e) lse)      dp = dout v^T
//   ds = p * (dp - delta)                          delta = rowsum(dout * out)
//   dv += p^T dout        dk += scale ds^T q       dq += scale ds k
//
// dk and dv of a block belong to one piece of work. dq is summed over blocks of keys: each piece adds
// up, in order, a partial sum of its own, and the partial sums are added in order at the end, so that
// the result does not depend on who did what when.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/attention_backward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <numbers>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/attention.h"
#include "triax/kernels/cpu/dropout-inl.h"
#include "triax/kernels/cpu/rows.h"
#include "triax/kernels/cpu/tile-inl.h"

#ifndef TRIAX_ATTENTION_BACKWARD_ARGUMENTS
#define TRIAX_ATTENTION_BACKWARD_ARGUMENTS
namespace triax::cpu {
// The partial sums of dq are scratch [groups, heads, n, padded_d]; group g of a span takes its blocks
// of keys g, g + groups, g + 2 groups, ...: about the same work for each under a causal mask.
struct BackwardArguments {
  const AttentionPlan& plan;
  const AttentionOptions& options;
  const DropoutMask& mask;
  const Tensor &dout, &qkv, &out, &lse, &dqkv;
  float *delta, *partial;  // delta [heads, n]
  int64_t groups, threads;

  int64_t groups_of(const Span& span) const { return std::min(groups, attention_blocks(span)); }
  float* partial_of(int64_t group, int64_t head, int64_t token) const {
    return partial + ((group * plan.heads + head) * plan.n + token) * plan.padded_d;
  }
};
}  // namespace triax::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

constexpr int64_t kBlock = kAttentionBlock;

struct BackwardBuffers {
  // Of the block of keys: k^T and v^T as panels of kTileColumns keys, k * scale, and the gradients.
  float *k_panels, *v_panels, *k, *dk, *dv;
  // Of the block of queries; exponent is -log2(e) lse.
  float *q, *dout, *exponent, *delta;
  // Of both: [queries, keys].
  float *p, *ds;
  float* factors;  // of dropout; null without

  BackwardBuffers(AttentionBuffers& buffers, int64_t padded_d, bool dropout) {
    buffers.reset(7 * kBlock * padded_d + (dropout ? 3 : 2) * kBlock * kBlock + 2 * kBlock);
    for (float** of_rows : {&k_panels, &v_panels, &k, &dk, &dv, &q, &dout})
      *of_rows = buffers.take(kBlock * padded_d);
    p = buffers.take(kBlock * kBlock);
    ds = buffers.take(kBlock * kBlock);
    exponent = buffers.take(kBlock);
    delta = buffers.take(kBlock);
    factors = dropout ? buffers.take(kBlock * kBlock) : nullptr;
  }
};

// One block of queries against one block of keys. Key j is visible to query i iff j <= i + shift.
struct BlockPair {
  int64_t queries, keys, d, padded_d, shift;
  bool causal, first_for_keys, first_for_queries;
  // How many keys the queries before `query` see between them.
  int64_t visible(int64_t query) const {
    return causal ? std::clamp<int64_t>(query + shift, 0, keys) : keys;
  }
};

// From q k^T in p and dout v^T in ds to p (after dropout) and ds, for one row and `vectors` registers
// of keys that start at key `begin`.
HWY_INLINE void row_gradient(const BlockPair& pair, int64_t i, int64_t begin, int64_t vectors,
                             float scale_log2e, const BackwardBuffers& buffers) {
  const Floats d;
  float *p_row = buffers.p + i * kBlock + begin, *ds_row = buffers.ds + i * kBlock + begin;
  const FloatVector scale = hn::Set(d, scale_log2e), exponent = hn::Set(d, buffers.exponent[i]);
  const FloatVector delta = hn::Set(d, buffers.delta[i]);
  const int64_t visible = pair.visible(i + 1);
  const FloatVector limit = hn::Set(d, static_cast<float>(visible));
  for (int64_t v = 0; v < vectors; ++v) {
    FloatVector p = exp2(hn::MulAdd(hn::Load(d, p_row + v * kLanes), scale, exponent));
    FloatVector dp = hn::Load(d, ds_row + v * kLanes);
    FloatVector dropped = p;
    if (buffers.factors) {
      const FloatVector factor = hn::Load(d, buffers.factors + i * kBlock + begin + v * kLanes);
      dropped = hn::Mul(p, factor);
      dp = hn::Mul(dp, factor);
    }
    FloatVector ds = hn::Mul(p, hn::Sub(dp, delta));
    if (begin + (v + 1) * kLanes > visible) {
      const auto seen = hn::Lt(hn::Iota(d, static_cast<float>(begin + v * kLanes)), limit);
      dropped = hn::IfThenElseZero(seen, dropped);
      ds = hn::IfThenElseZero(seen, ds);
    }
    hn::Store(dropped, d, p_row + v * kLanes);
    hn::Store(ds, d, ds_row + v * kLanes);
  }
}

// p and ds of the pair. Past the last key that a block of rows sees, kTileRows - 1 zeros follow, which
// the products with p^T and ds^T read.
HWY_NOINLINE void pair_gradient(const BlockPair& pair, float scale_log2e,
                              const BackwardBuffers& buffers, Prefetcher& next) {
  const Floats d;
  const int64_t all = (pair.keys + kLanes - 1) / kLanes;
  for (int64_t from = 0; from < all; from += kTileVectors) {
    const int64_t begin = from * kLanes, most = std::min(kTileVectors, all - from);
    const auto registers = [&](int64_t keys) {
      return std::clamp<int64_t>((keys - begin + kLanes - 1) / kLanes, 0, most);
    };
    for (int64_t i = 0; i < pair.queries; i += kTileRows) {
      next.step();
      const int64_t rows = std::min(kTileRows, pair.queries - i), keys = pair.visible(i + rows);
      const int64_t vectors = registers(keys), zeroed = registers(keys + kTileRows - 1);
      float *p = buffers.p + i * kBlock + begin, *ds = buffers.ds + i * kBlock + begin;
      const int64_t row = i * pair.padded_d, panel = begin * pair.padded_d;
      tile_product<Order::rows>(rows, vectors, pair.d, {buffers.q + row, pair.padded_d},
                                {buffers.k_panels + panel, kTileColumns}, p, kBlock, kOverwrite);
      tile_product<Order::rows>(rows, vectors, pair.d, {buffers.dout + row, pair.padded_d},
                                {buffers.v_panels + panel, kTileColumns}, ds, kBlock, kOverwrite);
      for (int64_t r = 0; r < rows; ++r) {
        row_gradient(pair, i + r, begin, vectors, scale_log2e, buffers);
        for (int64_t v = vectors; v < zeroed; ++v) {
          hn::Store(hn::Zero(d), d, p + r * kBlock + v * kLanes);
          hn::Store(hn::Zero(d), d, ds + r * kBlock + v * kLanes);
        }
      }
    }
  }
}

// dv += p^T dout, dk += ds^T q, dq += ds k.
HWY_NOINLINE void add_products(const BlockPair& pair, const BackwardBuffers& buffers, float* dq) {
  const int64_t vectors = (pair.d + kLanes - 1) / kLanes, ld = pair.padded_d;
  const float* keys_start = pair.first_for_keys ? kOverwrite : kAdd;
  const float* queries_start = pair.first_for_queries ? kOverwrite : kAdd;
  for (int64_t v = 0; v < vectors; v += kTileVectors) {
    const int64_t width = std::min(kTileVectors, vectors - v), column = v * kLanes;
    const auto keys_product = [&](const float* left, const float* right, float* to) {
      for (int64_t j = 0; j < pair.keys; j += kTileRows) {
        const int64_t rows = std::min(kTileRows, pair.keys - j);
        const int64_t from = pair.causal ? std::clamp<int64_t>(j - pair.shift, 0, pair.queries) : 0;
        tile_product<Order::columns>(rows, width, pair.queries - from,
                                     {left + from * kBlock + j, kBlock},
                                     {right + from * ld + column, ld}, to + j * ld + column, ld,
                                     keys_start);
      }
    };
    keys_product(buffers.p, buffers.dout, buffers.dv);
    keys_product(buffers.ds, buffers.q, buffers.dk);
    for (int64_t i = 0; i < pair.queries; i += kTileRows) {
      const int64_t rows = std::min(kTileRows, pair.queries - i);
      tile_product<Order::rows>(rows, width, pair.visible(i + rows), {buffers.ds + i * kBlock, kBlock},
                                {buffers.k + column, ld}, dq + i * ld + column, ld, queries_start);
    }
  }
}

template <typename T>
HWY_INLINE void copy_rows(const T* from, int64_t stride, int64_t rows, int64_t d, float factor,
                          float* to, int64_t padded_d) {
  for (int64_t i = 0; i < rows; ++i)
    copy_row(from + i * stride, d, factor, to + i * padded_d, padded_d);
}

// `keys` rows of k or v as panels; keys past the end, up to a multiple of 16, are zeros.
template <typename T>
HWY_INLINE void pack_panels(const T* from, int64_t stride, int64_t keys, int64_t d, int64_t padded_d,
                            float* rows, float* panels) {
  const int64_t padded = (keys + 15) / 16 * 16;
  copy_rows(from, stride, keys, d, 1.0f, rows, padded_d);
  std::fill(rows + keys * padded_d, rows + padded * padded_d, 0.0f);
  for (int64_t j = 0; j < padded; j += kTileColumns)
    transpose(rows + j * padded_d, padded_d, std::min(kTileColumns, padded - j), d,
              panels + j * padded_d, kTileColumns);
}

// One head of one span: element (token of the span, c) of each operand is x[token * its stride + c].
template <typename T>
struct BackwardHead {
  int64_t head, start, length, blocks, first_block;  // start: the span's; first_block: its group's
  int64_t qkv_stride, out_stride;
  const T *q, *k, *v, *dout;
  T* dq;

  BackwardHead(const BackwardArguments& args, int64_t index) {
    const AttentionPlan& plan = args.plan;
    const auto piece = plan.piece(index);
    const Span& span = plan.spans[static_cast<size_t>(piece.span)];
    head = piece.head, start = span.start, length = span.length;
    blocks = attention_blocks(span), first_block = piece.slice;
    qkv_stride = 3 * plan.heads * plan.d, out_stride = plan.heads * plan.d;
    const int64_t offset = start * qkv_stride + head * plan.d;
    q = args.qkv.data<T>() + offset, k = q + out_stride, v = k + out_stride;
    dq = args.dqkv.data<T>() + offset;
    dout = args.dout.data<T>() + start * out_stride + head * plan.d;
  }
  int64_t rows(int64_t block) const { return std::min(kBlock, length - block * kBlock); }
};

// What will be read after the pair (block of keys, block of queries).
template <typename T>
HWY_INLINE Prefetcher prefetch_next(const BackwardArguments& args, const BackwardHead<T>& head,
                                    int64_t index, int64_t groups, int64_t key, int64_t query) {
  const int64_t d = args.plan.d;
  Prefetcher next;
  const auto add_queries = [&](const BackwardHead<T>& of, int64_t block) {
    next.add(of.q + block * kBlock * of.qkv_stride, of.qkv_stride, of.rows(block), d);
    next.add(of.dout + block * kBlock * of.out_stride, of.out_stride, of.rows(block), d);
  };
  const auto add_keys = [&](const BackwardHead<T>& of, int64_t block) {
    next.add(of.k + block * kBlock * of.qkv_stride, of.qkv_stride, of.rows(block), d);
    next.add(of.v + block * kBlock * of.qkv_stride, of.qkv_stride, of.rows(block), d);
    add_queries(of, args.options.causal ? block : 0);
  };
  if (query + 1 < head.blocks) {
    add_queries(head, query + 1);
  } else if (key + groups < head.blocks) {
    add_keys(head, key + groups);
  } else if (index + args.threads < args.plan.pieces()) {
    const BackwardHead<T> other(args, index + args.threads);
    add_keys(other, other.first_block);
  }
  return next;
}

// All blocks of queries that see the block of keys `block`; its dk and dv are then complete.
template <typename T>
HWY_INLINE void key_block(const BackwardArguments& args, const BackwardHead<T>& head, int64_t index,
                          int64_t groups, int64_t block, const BackwardBuffers& buffers) {
  const AttentionOptions& options = args.options;
  const int64_t d = args.plan.d, ld = args.plan.padded_d, stride = head.qkv_stride;
  const int64_t first_key = block * kBlock, keys = head.rows(block);
  const float scale_log2e = options.scale * std::numbers::log2e_v<float>;
  const T *k = head.k + first_key * stride, *v = head.v + first_key * stride;
  const float* lse = args.lse.data<float>() + head.head * args.plan.n + head.start;
  const float* delta = args.delta + head.head * args.plan.n + head.start;

  pack_panels(v, stride, keys, d, ld, buffers.k, buffers.v_panels);
  pack_panels(k, stride, keys, d, ld, buffers.k, buffers.k_panels);
  copy_rows(k, stride, keys, d, options.scale, buffers.k, ld);
  const int64_t start = options.causal ? block : 0;
  for (int64_t b = start; b < head.blocks; ++b) {
    const int64_t first = b * kBlock, queries = head.rows(b);
    const BlockPair pair = {queries, keys, d, ld, first - first_key, options.causal,
                            b == start, block == head.first_block};
    copy_rows(head.q + first * stride, stride, queries, d, 1.0f, buffers.q, ld);
    copy_rows(head.dout + first * head.out_stride, head.out_stride, queries, d, 1.0f, buffers.dout, ld);
    for (int64_t i = 0; i < queries; ++i)
      buffers.exponent[i] = lse[first + i] * -std::numbers::log2e_v<float>;
    std::copy_n(delta + first, queries, buffers.delta);
    const int64_t row = options.dropout.row_offset + head.start + first;
    for (int64_t i = 0; buffers.factors && i < queries; ++i)
      dropout_block(args.mask, (row + i) * options.total_heads + options.head_offset + head.head,
                    block, buffers.factors + i * kBlock);
    Prefetcher next = prefetch_next(args, head, index, groups, block, b);
    pair_gradient(pair, scale_log2e, buffers, next);
    add_products(pair, buffers, args.partial_of(head.first_block, head.head, head.start + first));
  }
  T* dk = head.dq + first_key * stride + args.plan.heads * d;
  T* dv = dk + args.plan.heads * d;
  for (int64_t j = 0; j < keys; ++j) {
    store_row(buffers.dk + j * ld, d, options.scale, dk + j * stride);
    store_row(buffers.dv + j * ld, d, 1.0f, dv + j * stride);
  }
}

// dq of queries [begin, end) of a span: the sum of the groups' partial sums.
template <typename T>
HWY_INLINE void sum_groups(const BackwardArguments& args, const Span& span, int64_t head,
                           int64_t begin, int64_t end) {
  const AttentionPlan& plan = args.plan;
  const int64_t d = plan.d, stride = 3 * plan.heads * d;
  T* dq = args.dqkv.data<T>() + span.start * stride + head * d;
  for (int64_t i = begin; i < end; ++i) {
    float* sum = args.partial_of(0, head, span.start + i);
    // Group g holds nothing for queries before its first block of keys.
    const int64_t reach = args.options.causal ? i / kBlock + 1 : args.groups;
    for (int64_t g = 1; g < std::min(reach, args.groups_of(span)); ++g) {
      const float* part = args.partial_of(g, head, span.start + i);
      for (int64_t c = 0; c < plan.padded_d; c += kLanes)
        store_floats(hn::Add(load_floats(sum + c), load_floats(part + c)), sum + c);
    }
    store_row(sum, d, 1.0f, dq + i * stride);
  }
}

template <typename T>
HWY_INLINE void backward_piece(const BackwardArguments& args, int64_t index) {
  const BackwardHead<T> head(args, index);
  const BackwardBuffers buffers(attention_buffers(), args.plan.padded_d,
                                args.options.dropout.active());
  const Span span = {head.start, head.length};
  const int64_t groups = args.groups_of(span);
  for (int64_t block = head.first_block; block < head.blocks; block += groups)
    key_block<T>(args, head, index, groups, block, buffers);
  if (groups == 1) sum_groups<T>(args, span, head.head, 0, head.length);
}

// Second pass, for the spans that have several groups: one block of queries of one head.
template <typename T>
HWY_INLINE void reduce_piece(const BackwardArguments& args, const AttentionPlan& plan, int64_t index) {
  const auto [s, head, slice] = plan.piece(index);
  const Span& span = plan.spans[static_cast<size_t>(s)];
  sum_groups<T>(args, span, head, slice * kBlock, std::min(span.length, (slice + 1) * kBlock));
}

// delta of tokens [begin, end), all heads.
template <typename T>
HWY_INLINE void delta_rows(const BackwardArguments& args, int64_t begin, int64_t end) {
  const Floats df;
  const int64_t heads = args.plan.heads, d = args.plan.d;
  for (int64_t t = begin; t < end; ++t)
    for (int64_t a = 0; a < heads; ++a) {
      const T* x = args.dout.data<T>() + (t * heads + a) * d;
      const T* y = args.out.data<T>() + (t * heads + a) * d;
      FloatVector sum = hn::Zero(df);
      int64_t c = 0;
      for (; c + kLanes <= d; c += kLanes)
        sum = hn::MulAdd(load_floats(x + c), load_floats(y + c), sum);
      float total = hn::GetLane(hn::SumOfLanes(df, sum));
      for (; c < d; ++c) total += static_cast<float>(x[c]) * static_cast<float>(y[c]);
      args.delta[a * args.plan.n + t] = total;
    }
}

void delta_f32(const BackwardArguments& args, int64_t begin, int64_t end) {
  delta_rows<float>(args, begin, end);
}
void delta_bf16(const BackwardArguments& args, int64_t begin, int64_t end) {
  delta_rows<bf16>(args, begin, end);
}
void delta_f16(const BackwardArguments& args, int64_t begin, int64_t end) {
  delta_rows<f16>(args, begin, end);
}
void backward_f32(const BackwardArguments& args, int64_t i) { backward_piece<float>(args, i); }
void backward_bf16(const BackwardArguments& args, int64_t i) { backward_piece<bf16>(args, i); }
void backward_f16(const BackwardArguments& args, int64_t i) { backward_piece<f16>(args, i); }
void reduce_f32(const BackwardArguments& args, const AttentionPlan& plan, int64_t i) {
  reduce_piece<float>(args, plan, i);
}
void reduce_bf16(const BackwardArguments& args, const AttentionPlan& plan, int64_t i) {
  reduce_piece<bf16>(args, plan, i);
}
void reduce_f16(const BackwardArguments& args, const AttentionPlan& plan, int64_t i) {
  reduce_piece<f16>(args, plan, i);
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(delta_f32);
HWY_EXPORT(delta_bf16);
HWY_EXPORT(delta_f16);
HWY_EXPORT(backward_f32);
HWY_EXPORT(backward_bf16);
HWY_EXPORT(backward_f16);
HWY_EXPORT(reduce_f32);
HWY_EXPORT(reduce_bf16);
HWY_EXPORT(reduce_f16);

namespace {

// Enough pieces to balance many cores; a function of the problem only, since the groups decide the
// order in which dq is summed. At most 8 partial sums, each the size of dq.
int64_t backward_groups(const Tensor& qkv, std::span<const Span> spans) {
  constexpr int64_t kPieces = 192, kMostGroups = 8;
  int64_t pairs = 0, blocks = 1;
  for (const Span& span : spans) {
    pairs += span.length > 0 ? qkv.dim(2) : 0;
    blocks = std::max(blocks, attention_blocks(span));
  }
  const int64_t wanted = (kPieces + pairs - 1) / std::max<int64_t>(1, pairs);
  return std::clamp<int64_t>(wanted, 1, std::min(kMostGroups, blocks));
}

size_t round_to_line(int64_t floats) {
  return static_cast<size_t>((floats + 15) / 16 * 16) * sizeof(float);
}

}  // namespace

size_t attention_backward_scratch(const Tensor& qkv, std::span<const Span> spans) {
  const int64_t n = qkv.dim(0), heads = qkv.dim(2), padded_d = (qkv.dim(3) + 15) / 16 * 16;
  return round_to_line(heads * n) +
         round_to_line(backward_groups(qkv, spans) * heads * n * padded_d) + 64;
}

void attention_backward(const Tensor& dout, const Tensor& qkv, const Tensor& out, const Tensor& lse,
                        std::span<const Span> spans, const AttentionOptions& options,
                        const Tensor& dqkv, const Tensor& scratch) {
  const int64_t groups = backward_groups(qkv, spans), n = qkv.dim(0);
  const auto groups_of = [&](const Span& s) { return std::min(groups, attention_blocks(s)); };
  const AttentionPlan plan(qkv, spans, groups_of);
  const DropoutMask mask(options.dropout, options.max_length);
  const auto address = (reinterpret_cast<uintptr_t>(scratch.raw()) + 63) / 64 * 64;
  float* delta = reinterpret_cast<float*>(address);
  float* partial = reinterpret_cast<float*>(address + round_to_line(plan.heads * n));
  const BackwardArguments args = {plan, options, mask, dout, qkv, out, lse, dqkv, delta, partial,
                                  groups, num_threads()};
  const DType dtype = qkv.dtype();

  zero_outside(spans, dqkv);
  const auto make_delta = version_for(dtype, &HWY_DYNAMIC_DISPATCH(delta_f32), &HWY_DYNAMIC_DISPATCH(delta_bf16),
                                      &HWY_DYNAMIC_DISPATCH(delta_f16));
  const auto backward = version_for(dtype, &HWY_DYNAMIC_DISPATCH(backward_f32),
                                    &HWY_DYNAMIC_DISPATCH(backward_bf16), &HWY_DYNAMIC_DISPATCH(backward_f16));
  const auto reduce = version_for(dtype, &HWY_DYNAMIC_DISPATCH(reduce_f32), &HWY_DYNAMIC_DISPATCH(reduce_bf16),
                                  &HWY_DYNAMIC_DISPATCH(reduce_f16));
  parallel_for(n, std::max<int64_t>(1, 32768 / (plan.heads * plan.d)),
               [&](int64_t begin, int64_t end) { make_delta(args, begin, end); });
  parallel_pieces(plan.pieces(), [&](int64_t i) { backward(args, i); });
  if (groups == 1) return;
  const AttentionPlan reduction(qkv, spans, [&](const Span& s) {
    return groups_of(s) > 1 ? attention_blocks(s) : 0;
  });
  parallel_pieces(reduction.pieces(), [&](int64_t i) { reduce(args, reduction, i); });
}

}  // namespace triax::cpu
#endif
