// Attention by cuDNN: the operations of attention as a graph, which the library knows and runs as one fused kernel.
#pragma once

#ifdef TRIAX_CUDNN

#include <map>
#include <memory>
#include <utility>

#include "triax/kernels/cuda/cudnn_plan.h"
#include "triax/kernels/device_queue.h"

namespace triax::cuda {

// What a graph depends on.
struct AttentionShape {
  DType dtype = DType::bf16;
  int64_t sequences = 0, length = 0, heads = 0, d = 0;
  bool causal = true, backward = false, deterministic = true;
  auto operator<=>(const AttentionShape&) const = default;
};

// With the tensors that have memory of their own.
struct AttentionGraph {
  CudnnGraph graph;
  CudnnGraph::Id q = 0, k = 0, v = 0, out = 0, lse = 0;
  CudnnGraph::Id dout = 0, dq = 0, dk = 0, dv = 0;
  CudnnGraph::Id delta = 0;   // f32 [b, a, s], scratch
  CudnnGraph::Id dq_sum = 0;  // f32 [b, a, s, d], scratch that must be zero; unless deterministic
};
// scale: of the scores.
AttentionGraph attention_graph(const AttentionShape& shape, float scale);

class CudnnAttention {
 public:
  explicit CudnnAttention(void* stream);  // a cudaStream_t
  ~CudnnAttention();
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;

  // Bytes of scratch that a backward needs besides the plan's workspace.
  static size_t scratch_bytes(const AttentionShape& shape);
  // On the queue of `context`, whose scratch a forward may use.
  void run(const Context& context, const EqualAttention& attention);

 private:
  struct Prepared;
  const Prepared& prepared(const AttentionShape& shape, float scale);

  cudnnHandle_t handle_ = nullptr;
  std::map<std::pair<AttentionShape, float>, std::unique_ptr<Prepared>> prepared_;
};

}  // namespace triax::cuda

#endif
