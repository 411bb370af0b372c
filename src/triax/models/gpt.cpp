#include "triax/models/gpt.h"

#include "triax/base/error.h"
#include "triax/kernels/layernorm.h"

namespace triax {

Gpt::Gpt(const StageShape& shape, bool with_gradients, Sharding sharding) : StageModel(shape, with_gradients, sharding) {
  check(!shape.config.is_bert(), "model.kind = \"bert\" is not a model that writes text");
}

StageLoss Gpt::head_forward(const Context& context, const MicroBatch& batch, float loss_scale,
                            bool with_gradient, StageStash& stash, StageWorkspace& workspace) const {
  final_norm_forward(context, stash, workspace);
  const Tensor full = workspace.final_norm;
  need(layout_.token_unit);
  if (with_gradient) need_gradients(layout_.token_unit);
  // dhidden overwrites the norm chunk by chunk: each chunk's rows are read before they are written.
  const LmHead::Gradients gradients{full, with_gradient ? gradient_of(layout_.token_table) : Tensor{}};
  const double loss = head_.loss(context, full, weight(layout_.token_table), batch.targets,
                                 batch.weights, loss_scale, workspace.head,
                                 with_gradient ? &gradients : nullptr, {});
  if (!with_gradient) return {.tokens = loss};
  added_gradients(layout_.token_unit);
  const Tensor shard = shape_.parallel.splits_tokens() ? workspace.final_shard : full;
  shape_.parallel.reduce(full, shard);
  final_norm_backward(context, shard, stash);
  return {.tokens = loss};
}

void Gpt::logits(const Context& context, const Tensor& hidden, const Tensor& norm,
                 const Tensor& out) const {
  layernorm_forward(context, hidden, weight(layout_.final_weight), weight(layout_.final_bias), epsilon(), norm, {}, {});
  linear_forward(context, norm, weight(layout_.token_table), {}, out);
}

}  // namespace triax
