#include "triax/models/gpt.h"

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/kernels/layernorm.h"

namespace triax {
namespace {

// A random stream for the embedding's dropout that no layer uses (layers use layer * 8 + place).
constexpr uint32_t kEmbeddingSite = 0xFFFFFFFFu;

ParameterSpec embedding_table(const char* name, int64_t rows, int64_t h, float std) {
  return {.name = name, .global_shape = {rows, h}, .shape = {rows, h}, .offset = {0, 0},
          .init = Init::normal, .init_std = std, .weight_decay = true, .compute_copy = true};
}

}  // namespace

Gpt::Gpt(const GptConfig& config, const ModelPart& part, const TensorParallel& parallel,
         Recompute recompute, DType compute_type, bool with_gradients)
    : config_(config),
      part_(part),
      parallel_(parallel),
      recompute_(recompute),
      head_(config.hidden_size, config.vocab_size, config.padded_vocab_size(parallel.size()), parallel) {
  config.validate(parallel.size());
  const int64_t h = config.hidden_size, padded = config.padded_vocab_size(parallel.size());
  const auto std = static_cast<float>(config.effective_init_std());
  ParameterTable table;
  if (part.has_embedding || part.has_head) {
    ParameterSpec spec = embedding_table("embedding.token", padded, h, std);
    spec.global_shape[0] = config.vocab_size;  // padding rows belong to the layout, not to the model
    spec.shape[0] = padded / parallel.size();
    spec.offset[0] = spec.shape[0] * parallel.rank();
    token_table_ = table.add(std::move(spec));
  }
  if (part.has_embedding)
    position_table_ = table.add(embedding_table("embedding.position", config.max_positions, h, std));
  std::vector<BlockParameters> indices;
  for (int64_t i = 0; i < part.num_layers; ++i)
    indices.push_back(declare_block(config.block(), part.first_layer + i, parallel.rank(),
                                    parallel.size(), table));
  if (part.has_head) {
    final_weight_ = table.add({.name = "final_norm.weight", .global_shape = {h}, .shape = {h},
                               .offset = {}, .init = Init::ones});
    final_bias_ = table.add({.name = "final_norm.bias", .global_shape = {h}, .shape = {h},
                             .offset = {}, .init = Init::zeros});
  }
  parameters_ = std::make_unique<Parameters>(std::move(table), compute_type, with_gradients);
  for (int64_t i = 0; i < part.num_layers; ++i)
    blocks_.emplace_back(config.block(), part.first_layer + i, indices[static_cast<size_t>(i)],
                         *parameters_, parallel, recompute);
}

GptStash Gpt::allocate_stash(int64_t n, Arena& arena) const {
  const DType dtype = parameters_->compute_type();
  const int64_t r = parallel_.residual_rows(n), h = config_.hidden_size;
  GptStash stash;
  for (int64_t i = 0; i <= part_.num_layers; ++i) stash.inputs.push_back(arena.allocate({r, h}, dtype));
  for (int64_t i = 0; i < part_.num_layers; ++i)
    stash.blocks.push_back(
        TransformerBlock::allocate_stash(config_.block(), parallel_, recompute_, dtype, n, arena));
  if (part_.has_head) {
    stash.final_mean = arena.allocate({r}, DType::f32);
    stash.final_rstd = arena.allocate({r}, DType::f32);
  }
  stash.gradient = arena.allocate({r, h}, dtype);
  return stash;
}

GptWorkspace Gpt::allocate_workspace(int64_t n, bool with_backward, Arena& arena) const {
  const DType dtype = parameters_->compute_type();
  const int64_t r = parallel_.residual_rows(n), h = config_.hidden_size;
  GptWorkspace w;
  // The head and the blocks are never at work at the same time: their temporaries share memory.
  const size_t begin = arena.mark();
  w.block = TransformerBlock::allocate_workspace(config_.block(), parallel_, recompute_, dtype, n,
                                                 with_backward, arena);
  if (part_.has_head) {
    const size_t end = arena.mark();
    arena.release(begin);
    w.final_norm = arena.allocate({n, h}, dtype);
    if (parallel_.splits_tokens()) w.final_shard = arena.allocate({r, h}, dtype);
    w.head = head_.allocate_workspace(dtype, n, arena);
    if (arena.mark() < end) arena.release(end);
  }
  return w;
}

Dropout Gpt::embedding_dropout(const MicroBatch& batch) const {
  const int64_t n = batch.tokens.numel();
  return {.probability = batch.layout.training ? static_cast<float>(config_.hidden_dropout) : 0.0f,
          .seed = batch.layout.seed,
          .site = kEmbeddingSite,
          .step = batch.layout.step,
          .row_offset = batch.layout.first_token + parallel_.first_row(n)};
}

void Gpt::embed(const Context& context, const MicroBatch& batch, GptWorkspace& workspace,
                const Tensor& out) const {
  const int64_t n = batch.tokens.numel(), r = out.dim(0);
  const Tensor lookup = parallel_.splits_tokens() ? workspace.block.partial : out;
  embedding_forward(context, batch.tokens, parameters_->weight(token_table_), head_.vocab_start(), lookup);
  parallel_.reduce(lookup, out);
  position_dropout_forward(context, batch.positions.narrow(0, parallel_.first_row(n), r),
                           parameters_->weight(position_table_), embedding_dropout(batch), out);
}

double Gpt::forward(const Context& context, const MicroBatch& batch, const Tensor& input,
                    float loss_scale, bool with_gradient, GptStash& stash,
                    GptWorkspace& workspace) const {
  if (part_.has_embedding) {
    embed(context, batch, workspace, stash.inputs[0]);
  } else if (input.raw() != stash.inputs[0].raw()) {
    convert(context, input, stash.inputs[0]);
  }
  for (size_t i = 0; i < blocks_.size(); ++i)
    blocks_[i].forward(context, batch.layout, stash.inputs[i], stash.blocks[i], workspace.block,
                       stash.inputs[i + 1]);
  if (!part_.has_head) return 0;
  return head_forward(context, batch, loss_scale, with_gradient, stash, workspace);
}

double Gpt::head_forward(const Context& context, const MicroBatch& batch, float loss_scale,
                         bool with_gradient, GptStash& stash, GptWorkspace& workspace) const {
  const Tensor& x = stash.inputs.back();
  const Tensor full = workspace.final_norm;
  const Tensor shard = parallel_.splits_tokens() ? workspace.final_shard : full;
  const Tensor gamma = parameters_->weight(final_weight_), beta = parameters_->weight(final_bias_);
  layernorm_forward(context, x, gamma, beta, static_cast<float>(config_.layernorm_epsilon), shard,
                    stash.final_mean, stash.final_rstd);
  parallel_.gather(shard, full);
  // dhidden overwrites the norm chunk by chunk: each chunk's rows are read before they are written.
  const LmHead::Gradients gradients{full, with_gradient ? parameters_->gradient(token_table_) : Tensor{}};
  const double loss = head_.loss(context, full, parameters_->weight(token_table_), batch.targets,
                                 batch.weights, loss_scale, workspace.head,
                                 with_gradient ? &gradients : nullptr, {});
  if (with_gradient) {
    parallel_.reduce(full, shard);
    layernorm_backward(context, shard, x, gamma, stash.final_mean, stash.final_rstd, stash.gradient,
                       false, parameters_->gradient(final_weight_),
                       parameters_->gradient(final_bias_));
  }
  return loss;
}

void Gpt::backward(const Context& context, const MicroBatch& batch, GptStash& stash,
                   GptWorkspace& workspace) const {
  for (size_t i = blocks_.size(); i-- > 0;)
    blocks_[i].backward(context, batch.layout, stash.inputs[i], stash.blocks[i], workspace.block,
                        stash.gradient);
  if (!part_.has_embedding) return;
  const int64_t n = batch.tokens.numel(), r = stash.gradient.dim(0);
  position_dropout_backward(context, batch.positions.narrow(0, parallel_.first_row(n), r),
                            embedding_dropout(batch), stash.gradient,
                            parameters_->gradient(position_table_));
  const Tensor full = parallel_.splits_tokens() ? workspace.block.partial : stash.gradient;
  parallel_.gather(stash.gradient, full);
  embedding_backward(context, full, batch.tokens, head_.vocab_start(),
                     parameters_->gradient(token_table_));
}

void Gpt::logits(const Context& context, const Tensor& hidden, const Tensor& norm,
                 const Tensor& out) const {
  layernorm_forward(context, hidden, parameters_->weight(final_weight_),
                    parameters_->weight(final_bias_), static_cast<float>(config_.layernorm_epsilon),
                    norm, {}, {});
  linear_forward(context, norm, parameters_->weight(token_table_), {}, out);
}

}  // namespace triax
