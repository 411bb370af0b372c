// Tensor parallelism (Shoeybi et al. 2019) and sequence parallelism (Korthikanti et al. 2022) as four
// moves of the residual stream. With one rank they all do nothing, and `full` and `shard` are the same
// tensor.
//
// Outside the split linears the residual stream is a [rows, h] tensor: all n tokens on every rank, or
// with sequence parallelism n / t of them (any contiguous n / t: what happens there is per token).
#pragma once

#include "triax/base/error.h"
#include "triax/comm/communicator.h"

namespace triax {

struct TensorParallel {
  Communicator* group = nullptr;  // null: one rank
  bool sequence_parallel = false;

  int size() const { return group ? group->size() : 1; }
  int rank() const { return group ? group->rank() : 0; }
  bool splits_tokens() const { return sequence_parallel && size() > 1; }
  // Rows of the residual stream on this rank, out of n tokens.
  int64_t residual_rows(int64_t n) const { return splits_tokens() ? n / size() : n; }
  int64_t first_row(int64_t n) const { return splits_tokens() ? n / size() * rank() : 0; }

  // Entry of a split region: every rank gets all tokens. `full` is `shard` unless tokens are split.
  void gather(const Tensor& shard, const Tensor& full) const {
    if (splits_tokens()) group->all_gather(shard, full);
  }
  // Exit of a split region: partial sums [n, h] become the residual rows of this rank. The result is in
  // the returned tensor: `partial` itself, or with split tokens its first rows' worth in `shard`.
  Request start_reduce(const Tensor& partial, const Tensor& shard) const {
    if (size() == 1) return {};
    return splits_tokens() ? group->start_reduce_scatter(partial, shard)
                           : group->start_all_reduce(partial, ReduceOp::sum);
  }
  void reduce(const Tensor& partial, const Tensor& shard) const {
    start_reduce(partial, shard).wait();
  }
  // Gradients of parameters that every rank holds whole but that saw only its tokens (norms, and
  // biases after a row-parallel linear): summed over the group when tokens are split.
  bool replicated_gradients_need_sum() const { return splits_tokens(); }
};

}  // namespace triax
