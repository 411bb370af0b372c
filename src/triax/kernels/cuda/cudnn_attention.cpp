#include "triax/kernels/cuda/cudnn_attention.h"

#ifdef TRIAX_CUDNN

#include <limits>

#include "triax/base/error.h"
#include "triax/base/numbers.h"
#include "triax/kernels/elementwise.h"

namespace triax::cuda {
namespace {

using Id = CudnnGraph::Id;
using Dims = CudnnGraph::Dims;

size_t scratch_of_floats(int64_t count) { return static_cast<size_t>(round_up(count * static_cast<int64_t>(sizeof(float)), 256)); }
size_t delta_bytes(const AttentionShape& s) { return scratch_of_floats(s.sequences * s.heads * s.length); }
size_t sum_bytes(const AttentionShape& s) { return scratch_of_floats(s.sequences * s.heads * s.length * s.d); }

// What forward and backward have in common. b sequences, a heads, s tokens, d elements.
class AttentionWriter {
 public:
  AttentionWriter(const AttentionShape& shape, float scale) : shape_(shape) {
    const auto [b, a, s, d] = dims();
    AttentionGraph& g = result_;
    g.q = g.graph.tensor(half(), dims(), of_qkv());
    // Keys are the columns of what queries are multiplied by.
    g.k = g.graph.tensor(half(), {b, a, d, s}, {of_qkv()[0], d, 1, of_qkv()[2]});
    scale_ = g.graph.number(scale);
    lowest_ = g.graph.number(std::numeric_limits<float>::lowest());
  }

  AttentionGraph forward() {
    const auto [b, a, s, d] = dims();
    CudnnGraph& g = result_.graph;
    result_.v = g.tensor(half(), dims(), of_qkv());
    result_.out = g.tensor(half(), dims(), of_out());
    result_.lse = g.tensor(CUDNN_DATA_FLOAT, {b, a, s, 1}, CudnnGraph::packed({b, a, s, 1}));
    const Id scores = masked(scaled_scores());
    const Id max = g.reduce(CUDNN_REDUCE_TENSOR_MAX, scores);
    const Id powers = g.apply(CUDNN_POINTWISE_EXP, {g.apply(CUDNN_POINTWISE_SUB, {scores, max})});
    const Id sum = g.reduce(CUDNN_REDUCE_TENSOR_ADD, powers);
    g.apply_into(result_.lse, CUDNN_POINTWISE_ADD, {max, g.apply(CUDNN_POINTWISE_LOG, {sum})});
    g.multiply(g.apply(CUDNN_POINTWISE_DIV, {powers, sum}, half()), result_.v, result_.out);
    return std::move(result_);
  }

  // With P = exp(scale S - lse): dV = P^T dO, dS = P (dO V^T - delta), delta = sum of dO O; dQ = scale dS K, dK = scale dS^T Q.
  AttentionGraph backward() {
    const auto [b, a, s, d] = dims();
    AttentionGraph& r = result_;
    CudnnGraph& g = r.graph;
    const Dims by_query = {b, a, s, 1};
    r.v = g.tensor(half(), {b, a, d, s}, {of_qkv()[0], d, 1, of_qkv()[2]});
    r.out = g.tensor(half(), dims(), of_out());
    r.dout = g.tensor(half(), dims(), of_out());
    r.lse = g.tensor(CUDNN_DATA_FLOAT, by_query, CudnnGraph::packed(by_query));
    r.delta = g.tensor(CUDNN_DATA_FLOAT, by_query, CudnnGraph::packed(by_query));
    for (Id* gradient : {&r.dq, &r.dk, &r.dv}) *gradient = g.tensor(half(), dims(), of_qkv());

    const Id delta = g.reduce(CUDNN_REDUCE_TENSOR_ADD, g.apply(CUDNN_POINTWISE_MUL, {r.dout, r.out}));
    g.apply_into(r.delta, CUDNN_POINTWISE_MUL, {delta, g.number(1)});  // the library knows it with the scale of a dropout
    const Id p = g.apply(CUDNN_POINTWISE_EXP, {masked(g.apply(CUDNN_POINTWISE_SUB, {scaled_scores(), r.lse}))});
    g.multiply(transposed(p), r.dout, r.dv);
    const Id dp = square();
    g.multiply(r.dout, r.v, dp);
    const Id ds = g.apply(CUDNN_POINTWISE_MUL, {g.apply(CUDNN_POINTWISE_SUB, {dp, r.delta}), p});
    const Id scaled = g.apply(CUDNN_POINTWISE_MUL, {ds, scale_});
    g.multiply(transposed(scaled), r.q, r.dk);
    const Id k = g.temporary(CUDNN_DATA_FLOAT, dims(), of_qkv());
    g.reshape(r.k, k);
    if (shape_.deterministic) {  // the library keeps all of dS for that
      g.multiply(scaled, k, r.dq);
    } else {  // blocks add to the sum as they come
      r.dq_sum = g.tensor(CUDNN_DATA_FLOAT, dims(), CudnnGraph::packed(dims()));
      g.multiply(scaled, k, r.dq_sum);
      g.apply_into(r.dq, CUDNN_POINTWISE_IDENTITY, {r.dq_sum});
    }
    return std::move(result_);
  }

 private:
  cudnnDataType_t half() const { return shape_.dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF; }
  Dims dims() const { return {shape_.sequences, shape_.heads, shape_.length, shape_.d}; }
  Dims of_qkv() const {  // [b s, 3, a, d]
    const int64_t token = 3 * shape_.heads * shape_.d;
    return {shape_.length * token, shape_.d, token, 1};
  }
  Dims of_out() const {  // [b s, a, d]
    const int64_t token = shape_.heads * shape_.d;
    return {shape_.length * token, shape_.d, token, 1};
  }

  Id square() { return result_.graph.temporary(CUDNN_DATA_FLOAT, {shape_.sequences, shape_.heads, shape_.length, shape_.length}); }
  Id scaled_scores() {
    const Id scores = square();
    result_.graph.multiply(result_.q, result_.k, scores);
    return result_.graph.apply(CUDNN_POINTWISE_MUL, {scores, scale_});
  }
  Id masked(Id scores) {
    if (!shape_.causal) return scores;
    CudnnGraph& g = result_.graph;
    const Id query = g.apply(CUDNN_POINTWISE_GEN_INDEX, {scores}, CUDNN_DATA_INT32, 2);
    const Id key = g.apply(CUDNN_POINTWISE_GEN_INDEX, {scores}, CUDNN_DATA_INT32, 3);
    return g.apply(CUDNN_POINTWISE_BINARY_SELECT, {scores, lowest_, g.apply(CUDNN_POINTWISE_CMP_GE, {query, key}, CUDNN_DATA_BOOLEAN)});
  }
  Id transposed(Id x) {
    const int64_t s = shape_.length, of_head = s * s;
    const Id into = result_.graph.temporary(half(), {shape_.sequences, shape_.heads, s, s}, {shape_.heads * of_head, of_head, 1, s});
    result_.graph.reshape(x, into);
    return into;
  }

  AttentionShape shape_;
  AttentionGraph result_;
  Id scale_ = 0, lowest_ = 0;
};

AttentionShape shape_of(const EqualAttention& attention) {
  const Tensor& qkv = attention.qkv;
  const bool backward = attention.dout.defined();
  return {.dtype = qkv.dtype(), .sequences = attention.sequences, .length = qkv.dim(0) / attention.sequences, .heads = qkv.dim(2),
          .d = qkv.dim(3), .causal = attention.causal, .backward = backward, .deterministic = !backward || attention.deterministic};
}

// Parts of `qkv` [n, 3, a, d], as the graphs have them.
void* part_of(const Tensor& qkv, int64_t part) {
  return static_cast<char*>(qkv.raw()) + static_cast<size_t>(part * qkv.dim(2) * qkv.dim(3)) * size_of(qkv.dtype());
}

}  // namespace

AttentionGraph attention_graph(const AttentionShape& shape, float scale) {
  AttentionWriter writer(shape, scale);
  return shape.backward ? writer.backward() : writer.forward();
}

struct CudnnAttention::Prepared {
  AttentionGraph attention;
  CudnnPlan plan;
};

CudnnAttention::CudnnAttention(void* stream) {
  require_cudnn(cudnn().cudnnCreate(&handle_), "starting");
  require_cudnn(cudnn().cudnnSetStream(handle_, static_cast<cudaStream_t>(stream)), "setting the stream");
}

CudnnAttention::~CudnnAttention() { cudnn().cudnnDestroy(handle_); }

const CudnnAttention::Prepared& CudnnAttention::prepared(const AttentionShape& shape, float scale) {
  auto& place = prepared_[{shape, scale}];
  if (place) return *place;
  try {
    AttentionGraph attention = attention_graph(shape, scale);
    CudnnPlan plan(attention.graph, handle_);
    place = std::make_unique<Prepared>(Prepared{std::move(attention), std::move(plan)});
  } catch (const Error& error) {
    fail("attention of {} sequences of {} tokens, {} heads of {} in {}{}: {}. train.attention = \"own\" does it with triax's kernels",
         shape.sequences, shape.length, shape.heads, shape.d, name_of(shape.dtype), shape.backward ? ", backward" : "", error.what());
  }
  return *place;
}

size_t CudnnAttention::scratch_bytes(const AttentionShape& shape) {
  return delta_bytes(shape) + (shape.deterministic ? 0 : sum_bytes(shape));
}

void CudnnAttention::run(const Context& context, const EqualAttention& a) {
  const AttentionShape shape = shape_of(a);
  const Prepared& ready = prepared(shape, a.scale);
  const AttentionGraph& g = ready.attention;
  std::map<CudnnGraph::Id, void*> memory = {{g.q, part_of(a.qkv, 0)}, {g.k, part_of(a.qkv, 1)}, {g.v, part_of(a.qkv, 2)},
                                            {g.out, a.out.raw()},     {g.lse, a.lse.raw()}};
  auto* workspace = static_cast<char*>(shape.backward ? a.scratch.raw() : context.queue->scratch);
  const size_t bytes = shape.backward ? a.scratch.bytes() : context.queue->scratch_bytes, taken = shape.backward ? scratch_bytes(shape) : 0;
  check(taken + ready.plan.workspace_bytes() <= bytes,
        "attention: cuDNN asks for {} bytes, {} were planned. train.attention = \"own\" does it with triax's kernels",
        taken + ready.plan.workspace_bytes(), bytes);
  if (shape.backward)
    memory.insert({{g.dout, a.dout.raw()}, {g.dq, part_of(a.dqkv, 0)}, {g.dk, part_of(a.dqkv, 1)}, {g.dv, part_of(a.dqkv, 2)}, {g.delta, workspace}});
  if (g.dq_sum) {
    const Tensor sum(workspace + delta_bytes(shape), {shape.sequences * shape.heads * shape.length * shape.d}, DType::f32, context.device);
    fill(context, sum, 0);
    memory[g.dq_sum] = sum.raw();
  }
  ready.plan.run(handle_, memory, workspace + taken);
}

}  // namespace triax::cuda

#endif
