#include "triax/nn/lm_head.h"

#include <algorithm>

#include "triax/kernels/cross_entropy.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/linear.h"

namespace triax {
namespace {

LmHeadWorkspace first_rows(const LmHeadWorkspace& w, int64_t count) {
  return {w.logits.narrow(0, 0, count), w.row_max.narrow(0, 0, count),
          w.local_max.narrow(0, 0, count), w.row_sum.narrow(0, 0, count),
          w.target.narrow(0, 0, count), {}};
}

}  // namespace

int64_t LmHead::chunk_tokens(int64_t local_vocab, DType dtype, int64_t n) {
  constexpr int64_t kBytes = int64_t{64} << 20;
  const int64_t fitting = kBytes / (local_vocab * static_cast<int64_t>(size_of(dtype)));
  return std::min(n, std::max<int64_t>(128, fitting / 64 * 64));
}

LmHeadWorkspace LmHead::allocate_workspace(DType dtype, int64_t n, Arena& arena) const {
  const int64_t chunk = chunk_tokens(local_vocab_, dtype, n);
  LmHeadWorkspace w;
  w.logits = arena.allocate({chunk, local_vocab_}, dtype);
  for (Tensor* vector : {&w.row_max, &w.local_max, &w.row_sum, &w.target})
    *vector = arena.allocate({chunk}, DType::f32);
  w.losses = arena.allocate({n}, DType::f32);
  return w;
}

// Turns each rank's maximum, sum of exponentials and target logit into those of the whole vocabulary.
void LmHead::statistics_over_group(const Context& context, const LmHeadWorkspace& w) const {
  if (parallel_.size() == 1) return;
  convert(context, w.row_max, w.local_max);
  parallel_.group->all_reduce(w.row_max, ReduceOp::max);
  rescale_sums(context, w.local_max, w.row_max, w.row_sum);
  parallel_.group->all_reduce(w.row_sum);
  parallel_.group->all_reduce(w.target);
}

double LmHead::loss(const Context& context, const Tensor& hidden, const Tensor& table,
                    const Tensor& targets, const Tensor& weights, float loss_scale,
                    LmHeadWorkspace& workspace, const Gradients* gradients,
                    const Tensor& losses, const Tensor& bias) const {
  const int64_t n = hidden.dim(0), chunk = workspace.logits.dim(0);
  const Tensor all_losses = losses.defined() ? losses : workspace.losses.narrow(0, 0, n);
  for (int64_t begin = 0; begin < n; begin += chunk) {
    const int64_t count = std::min(chunk, n - begin);
    const LmHeadWorkspace w = first_rows(workspace, count);
    const Tensor x = hidden.narrow(0, begin, count), goal = targets.narrow(0, begin, count);
    const Tensor weight = weights.narrow(0, begin, count);
    linear_forward(context, x, table, bias, w.logits);
    softmax_statistics(context, w.logits, goal, vocab_start(), vocab_size_, w.row_max, w.row_sum,
                       w.target);
    statistics_over_group(context, w);
    // row_max is the log of the sum of exponentials from here on, row_sum the weights of the gradient.
    token_losses(context, w.row_max, w.row_sum, w.target, weight, loss_scale, all_losses.narrow(0, begin, count));
    if (!gradients) continue;
    cross_entropy_backward(context, w.logits, goal, vocab_start(), vocab_size_, w.row_max, w.row_sum);
    linear_backward_weight(context, w.logits, x, gradients->dtable, gradients->dbias);  // before dhidden: it may be x
    linear_backward_input(context, w.logits, table, gradients->dhidden.narrow(0, begin, count));
  }
  return weighted_sum(context, weights.narrow(0, 0, n), all_losses);
}

}  // namespace triax
