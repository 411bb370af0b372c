#include "triax/models/stage_model.h"

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/kernels/layernorm.h"
#include "triax/models/bert_sites.h"

namespace triax {
namespace {

Context in_layer(Context context) {
  context.in_layer = true;
  return context;
}

}  // namespace

StageModel::StageModel(const StageShape& shape, bool with_gradients, Sharding sharding)
    : shape_(shape),
      layout_(declare_stage(shape.config, shape.part, shape.parallel.rank(), shape.parallel.size(), shape.head)),
      head_(shape.config.hidden_size, shape.config.vocab_size,
            shape.config.padded_vocab_size(shape.parallel.size()), shape.parallel) {
  shape.config.validate(shape.parallel.size());
  parameters_ = std::make_unique<Parameters>(std::move(layout_.table), shape.compute_type, with_gradients, sharding, shape.device);
  for (int64_t i = 0; i < shape.part.num_layers; ++i)
    blocks_.emplace_back(shape.block(), shape.part.first_layer + i, layout_.blocks[static_cast<size_t>(i)],
                         *parameters_, shape.parallel);
}

std::vector<int> StageModel::gradient_uses(bool split_backward) const {
  std::vector<int> uses(parameters_->table().units().size(), 1);
  for (const int unit : layout_.block_units) uses[static_cast<size_t>(unit)] = split_backward ? 2 : 1;
  if (layout_.token_unit >= 0) uses[static_cast<size_t>(layout_.token_unit)] = shape_.part.has_embedding + (shape_.part.has_head && !shape_.is_encoder());
  return uses;
}

// ---- the embedding

Dropout StageModel::embedding_dropout(const MicroBatch& batch) const {
  const int64_t n = batch.tokens.numel();
  return {.probability = batch.layout.training ? static_cast<float>(shape_.config.hidden_dropout) : 0.0f,
          .seed = batch.layout.seed,
          .site = bert::kEmbeddingSite,
          .step = batch.layout.step,
          .row_offset = batch.layout.first_token + shape_.parallel.first_row(n)};
}

void StageModel::embed(const Context& context, const MicroBatch& batch, const StageStash& stash, StageWorkspace& workspace,
                       const Tensor& out) const {
  const bool post_norm = shape_.config.post_norm;
  const int64_t n = batch.tokens.numel(), r = out.dim(0), first = shape_.parallel.first_row(n);
  const Tensor sum = post_norm ? stash.embedding_sum : out;
  const Tensor lookup = shape_.parallel.splits_tokens() ? workspace.block.partial : sum;
  need(layout_.token_unit);
  embedding_forward(context, batch.tokens, weight(layout_.token_table), head_.vocab_start(), lookup);
  shape_.parallel.reduce(lookup, sum);
  need(layout_.position_unit);
  if (layout_.type_table >= 0) {
    const Tensor types = workspace.block.partial.narrow(0, 0, r);
    embedding_forward(context, batch.types.narrow(0, first, r), weight(layout_.type_table), 0, types);
    add_scaled(context, 1.0f, types, sum);
  }
  position_dropout_forward(context, batch.positions.narrow(0, first, r), weight(layout_.position_table),
                           post_norm ? Dropout{} : embedding_dropout(batch), sum);
  if (!post_norm) return;
  layernorm_forward(context, sum, weight(layout_.embedding_norm_weight), weight(layout_.embedding_norm_bias), epsilon(), out,
                    stash.embedding_mean, stash.embedding_rstd);
  bias_dropout_residual_forward(context, out, {}, {}, embedding_dropout(batch), out);
}

void StageModel::embed_backward(const Context& context, const MicroBatch& batch, const Tensor& gradient, const StageStash& stash,
                                StageWorkspace& workspace) const {
  const bool post_norm = shape_.config.post_norm;
  const int64_t n = batch.tokens.numel(), r = gradient.dim(0), first = shape_.parallel.first_row(n);
  const Dropout dropout = embedding_dropout(batch);
  need_gradients(layout_.position_unit);
  if (post_norm) {
    need(layout_.position_unit);
    if (dropout.active()) bias_dropout_residual_backward(context, gradient, dropout, gradient, {});
    layernorm_backward(context, gradient, stash.embedding_sum, weight(layout_.embedding_norm_weight), stash.embedding_mean,
                       stash.embedding_rstd, gradient, false, gradient_of(layout_.embedding_norm_weight),
                       gradient_of(layout_.embedding_norm_bias));
  }
  position_dropout_backward(context, batch.positions.narrow(0, first, r), post_norm ? Dropout{} : dropout, gradient,
                            gradient_of(layout_.position_table));
  if (layout_.type_table >= 0)
    embedding_backward(context, gradient, batch.types.narrow(0, first, r), 0, gradient_of(layout_.type_table));
  added_gradients(layout_.position_unit);
  const Tensor full = shape_.parallel.splits_tokens() ? workspace.block.partial : gradient;
  shape_.parallel.gather(gradient, full);
  need_gradients(layout_.token_unit);
  embedding_backward(context, full, batch.tokens, head_.vocab_start(), gradient_of(layout_.token_table));
  added_gradients(layout_.token_unit);
}

// ---- forward and backward

StageLoss StageModel::forward(const Context& context, const MicroBatch& batch, const Tensor& input, const Tensor& output,
                              float loss_scale, bool with_gradient, StageStash& stash, StageWorkspace& workspace) const {
  // What goes into layer i, or behind the last layer into the head or out of this part.
  const auto into = [&](size_t i) { return i < stash.inputs.size() ? stash.inputs[i] : output; };
  if (shape_.part.has_embedding) {
    embed(context, batch, stash, workspace, into(0));
  } else if (input.raw() != into(0).raw()) {
    convert(context, input, into(0));
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    need(layout_.block_units[i], i + 1 < blocks_.size() ? layout_.block_units[i + 1] : -1);
    blocks_[i].forward(in_layer(context), batch.layout, into(i), stash.blocks[i], workspace.block, into(i + 1));
  }
  if (!shape_.part.has_head) return {};
  return head_forward(context, batch, loss_scale, with_gradient, stash, workspace);
}

void StageModel::final_norm_forward(const Context& context, const StageStash& stash, StageWorkspace& workspace) const {
  const Tensor shard = shape_.parallel.splits_tokens() ? workspace.final_shard : workspace.final_norm;
  need(layout_.final_unit);
  layernorm_forward(context, stash.inputs.back(), weight(layout_.final_weight), weight(layout_.final_bias), epsilon(), shard,
                    stash.final_mean, stash.final_rstd);
  shape_.parallel.gather(shard, workspace.final_norm);
}

void StageModel::final_norm_backward(const Context& context, const Tensor& gradient, StageStash& stash) const {
  need_gradients(layout_.final_unit);
  layernorm_backward(context, gradient, stash.inputs.back(), weight(layout_.final_weight), stash.final_mean, stash.final_rstd,
                     stash.gradient, false, gradient_of(layout_.final_weight), gradient_of(layout_.final_bias));
  added_gradients(layout_.final_unit);
}

void StageModel::backward(const Context& context, const MicroBatch& batch, const Tensor& gradient, StageStash& stash,
                          StageWorkspace& workspace, StageDeferred* deferred) const {
  for (size_t i = blocks_.size(); i-- > 0;) {
    need(layout_.block_units[i], i > 0 ? layout_.block_units[i - 1] : -1);
    need_gradients(layout_.block_units[i]);
    blocks_[i].backward(in_layer(context), batch.layout, stash.inputs[i], stash.blocks[i], workspace.block, gradient,
                        deferred ? &deferred->blocks[i] : nullptr);
    added_gradients(layout_.block_units[i]);
  }
  if (shape_.part.has_embedding) embed_backward(context, batch, gradient, stash, workspace);
}

void StageModel::backward_weight(const Context& context, StageStash& stash, StageWorkspace& workspace,
                                 StageDeferred& deferred) const {
  for (size_t i = blocks_.size(); i-- > 0;) {
    need(layout_.block_units[i], i > 0 ? layout_.block_units[i - 1] : -1);  // norms may be computed again
    need_gradients(layout_.block_units[i]);
    blocks_[i].backward_weight(in_layer(context), stash.inputs[i], stash.blocks[i], workspace.block, deferred.blocks[i]);
    added_gradients(layout_.block_units[i]);
  }
}

}  // namespace triax
