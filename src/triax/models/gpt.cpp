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
          .init = Init::normal, .init_std = std, .matrix = true};
}

ParameterSpec final_norm(const char* name, int64_t h, Init init) {
  return {.name = name, .global_shape = {h}, .shape = {h}, .offset = {}, .init = init};
}

}  // namespace

GptLayout declare_gpt(const GptConfig& config, const ModelPart& part, int tp_rank, int tp_size) {
  const int64_t h = config.hidden_size, padded = config.padded_vocab_size(tp_size);
  const auto std = static_cast<float>(config.effective_init_std());
  GptLayout layout;
  ParameterTable& table = layout.table;
  if (part.has_embedding || part.has_head) {  // a unit of its own: first and last stage have the same one
    layout.token_unit = table.begin_unit("embedding.token");
    ParameterSpec spec = embedding_table("embedding.token", padded, h, std);
    spec.global_shape[0] = config.vocab_size;  // padding rows belong to the layout, not to the model
    spec.shape[0] = padded / tp_size;
    spec.offset[0] = spec.shape[0] * tp_rank;
    spec.split = true;
    spec.tied_copy = !part.has_embedding;
    layout.token_table = table.add(std::move(spec));
  }
  if (part.has_embedding) {
    layout.position_unit = table.begin_unit("embedding.position");
    layout.position_table = table.add(embedding_table("embedding.position", config.max_positions, h, std));
  }
  for (int64_t i = 0; i < part.num_layers; ++i) {
    layout.blocks.push_back(declare_block(config.block(), part.first_layer + i, tp_rank, tp_size, table));
    layout.block_units.push_back(static_cast<int>(table.units().size()) - 1);
  }
  if (part.has_head) {
    layout.final_unit = table.begin_unit("final_norm");
    layout.final_weight = table.add(final_norm("final_norm.weight", h, Init::ones));
    layout.final_bias = table.add(final_norm("final_norm.bias", h, Init::zeros));
  }
  return layout;
}

Gpt::Gpt(const GptShape& shape, bool with_gradients, Sharding sharding)
    : shape_(shape),
      layout_(declare_gpt(shape.config, shape.part, shape.parallel.rank(), shape.parallel.size())),
      head_(shape.config.hidden_size, shape.config.vocab_size,
            shape.config.padded_vocab_size(shape.parallel.size()), shape.parallel) {
  shape.config.validate(shape.parallel.size());
  parameters_ = std::make_unique<Parameters>(std::move(layout_.table), shape.compute_type, with_gradients, sharding);
  for (int64_t i = 0; i < shape.part.num_layers; ++i)
    blocks_.emplace_back(shape.config.block(), shape.part.first_layer + i, layout_.blocks[static_cast<size_t>(i)],
                         *parameters_, shape.parallel);
}

std::vector<int> Gpt::gradient_uses(bool split_backward) const {
  std::vector<int> uses(parameters_->table().units().size(), split_backward ? 2 : 1);  // layers
  if (layout_.token_unit >= 0) uses[static_cast<size_t>(layout_.token_unit)] = shape_.part.has_embedding + shape_.part.has_head;
  for (const int unit : {layout_.position_unit, layout_.final_unit})
    if (unit >= 0) uses[static_cast<size_t>(unit)] = 1;
  return uses;
}

GptStash Gpt::allocate_stash(const GptShape& shape, int64_t n, Arena& arena) {
  const int64_t r = shape.parallel.residual_rows(n), h = shape.config.hidden_size, layers = shape.part.num_layers;
  GptStash stash;
  for (int64_t i = 0; i < layers + (shape.part.has_head ? 1 : 0); ++i)
    stash.inputs.push_back(arena.allocate({r, h}, shape.compute_type));
  for (int64_t i = 0; i < layers; ++i)
    stash.blocks.push_back(TransformerBlock::allocate_stash(shape.config.block(), shape.parallel, shape.recompute,
                                                            shape.compute_type, n, arena));
  if (!shape.part.has_head) return stash;
  stash.final_mean = arena.allocate({r}, DType::f32);
  stash.final_rstd = arena.allocate({r}, DType::f32);
  stash.gradient = arena.allocate({r, h}, shape.compute_type);
  return stash;
}

GptDeferred Gpt::allocate_deferred(const GptShape& shape, int64_t n, Arena& arena) {
  GptDeferred deferred;
  for (int64_t i = 0; i < shape.part.num_layers; ++i)
    deferred.blocks.push_back(TransformerBlock::allocate_deferred(shape.config.block(), shape.parallel,
                                                                  shape.compute_type, n, arena));
  return deferred;
}

GptWorkspace Gpt::allocate_workspace(const GptShape& shape, int64_t n, bool with_backward, Arena& arena) {
  const GptConfig& config = shape.config;
  const int64_t r = shape.parallel.residual_rows(n), h = config.hidden_size;
  GptWorkspace w;
  // The head and the blocks are never at work at the same time: their temporaries share memory.
  const size_t begin = arena.mark();
  w.block = TransformerBlock::allocate_workspace(config.block(), shape.parallel, shape.recompute,
                                                 shape.compute_type, n, with_backward, arena);
  if (shape.part.has_head) {
    const size_t end = arena.mark();
    arena.release(begin);
    w.final_norm = arena.allocate({n, h}, shape.compute_type);
    if (shape.parallel.splits_tokens()) w.final_shard = arena.allocate({r, h}, shape.compute_type);
    const LmHead head(h, config.vocab_size, config.padded_vocab_size(shape.parallel.size()), shape.parallel);
    w.head = head.allocate_workspace(shape.compute_type, n, arena);
    if (arena.mark() < end) arena.release(end);
  }
  return w;
}

Dropout Gpt::embedding_dropout(const MicroBatch& batch) const {
  const int64_t n = batch.tokens.numel();
  return {.probability = batch.layout.training ? static_cast<float>(shape_.config.hidden_dropout) : 0.0f,
          .seed = batch.layout.seed,
          .site = kEmbeddingSite,
          .step = batch.layout.step,
          .row_offset = batch.layout.first_token + shape_.parallel.first_row(n)};
}

void Gpt::embed(const Context& context, const MicroBatch& batch, GptWorkspace& workspace,
                const Tensor& out) const {
  const int64_t n = batch.tokens.numel(), r = out.dim(0);
  const Tensor lookup = shape_.parallel.splits_tokens() ? workspace.block.partial : out;
  need(layout_.token_unit);
  embedding_forward(context, batch.tokens, parameters_->weight(layout_.token_table), head_.vocab_start(), lookup);
  shape_.parallel.reduce(lookup, out);
  need(layout_.position_unit);
  position_dropout_forward(context, batch.positions.narrow(0, shape_.parallel.first_row(n), r),
                           parameters_->weight(layout_.position_table), embedding_dropout(batch), out);
}

double Gpt::forward(const Context& context, const MicroBatch& batch, const Tensor& input, const Tensor& output,
                    float loss_scale, bool with_gradient, GptStash& stash, GptWorkspace& workspace) const {
  // What goes into layer i, or behind the last layer into the head or out of this part.
  const auto into = [&](size_t i) { return i < stash.inputs.size() ? stash.inputs[i] : output; };
  if (shape_.part.has_embedding) {
    embed(context, batch, workspace, into(0));
  } else if (input.raw() != into(0).raw()) {
    convert(context, input, into(0));
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    need(layout_.block_units[i], i + 1 < blocks_.size() ? layout_.block_units[i + 1] : -1);
    blocks_[i].forward(context, batch.layout, into(i), stash.blocks[i], workspace.block, into(i + 1));
  }
  if (!shape_.part.has_head) return 0;
  return head_forward(context, batch, loss_scale, with_gradient, stash, workspace);
}

double Gpt::head_forward(const Context& context, const MicroBatch& batch, float loss_scale,
                         bool with_gradient, GptStash& stash, GptWorkspace& workspace) const {
  const Tensor& x = stash.inputs.back();
  const Tensor full = workspace.final_norm;
  const Tensor shard = shape_.parallel.splits_tokens() ? workspace.final_shard : full;
  need(layout_.final_unit);
  const Tensor gamma = parameters_->weight(layout_.final_weight), beta = parameters_->weight(layout_.final_bias);
  layernorm_forward(context, x, gamma, beta, static_cast<float>(shape_.config.layernorm_epsilon), shard,
                    stash.final_mean, stash.final_rstd);
  shape_.parallel.gather(shard, full);
  need(layout_.token_unit);
  if (with_gradient) need_gradients(layout_.token_unit);
  // dhidden overwrites the norm chunk by chunk: each chunk's rows are read before they are written.
  const LmHead::Gradients gradients{full, with_gradient ? parameters_->gradient(layout_.token_table) : Tensor{}};
  const double loss = head_.loss(context, full, parameters_->weight(layout_.token_table), batch.targets,
                                 batch.weights, loss_scale, workspace.head,
                                 with_gradient ? &gradients : nullptr, {});
  if (!with_gradient) return loss;
  added_gradients(layout_.token_unit);
  shape_.parallel.reduce(full, shard);
  need_gradients(layout_.final_unit);
  layernorm_backward(context, shard, x, gamma, stash.final_mean, stash.final_rstd, stash.gradient, false,
                     parameters_->gradient(layout_.final_weight), parameters_->gradient(layout_.final_bias));
  added_gradients(layout_.final_unit);
  return loss;
}

void Gpt::backward(const Context& context, const MicroBatch& batch, const Tensor& gradient, GptStash& stash,
                   GptWorkspace& workspace, GptDeferred* deferred) const {
  for (size_t i = blocks_.size(); i-- > 0;) {
    need(layout_.block_units[i], i > 0 ? layout_.block_units[i - 1] : -1);
    need_gradients(layout_.block_units[i]);
    blocks_[i].backward(context, batch.layout, stash.inputs[i], stash.blocks[i], workspace.block, gradient,
                        deferred ? &deferred->blocks[i] : nullptr);
    added_gradients(layout_.block_units[i]);
  }
  if (shape_.part.has_embedding) embedding_backward_all(context, batch, gradient, workspace);
}

void Gpt::backward_weight(const Context& context, GptStash& stash, GptWorkspace& workspace,
                          GptDeferred& deferred) const {
  for (size_t i = blocks_.size(); i-- > 0;) {
    need(layout_.block_units[i], i > 0 ? layout_.block_units[i - 1] : -1);  // norms may be computed again
    need_gradients(layout_.block_units[i]);
    blocks_[i].backward_weight(context, stash.inputs[i], stash.blocks[i], workspace.block, deferred.blocks[i]);
    added_gradients(layout_.block_units[i]);
  }
}

void Gpt::embedding_backward_all(const Context& context, const MicroBatch& batch, const Tensor& gradient,
                                 GptWorkspace& workspace) const {
  const int64_t n = batch.tokens.numel(), r = gradient.dim(0);
  need_gradients(layout_.position_unit);
  position_dropout_backward(context, batch.positions.narrow(0, shape_.parallel.first_row(n), r),
                            embedding_dropout(batch), gradient, parameters_->gradient(layout_.position_table));
  added_gradients(layout_.position_unit);
  const Tensor full = shape_.parallel.splits_tokens() ? workspace.block.partial : gradient;
  shape_.parallel.gather(gradient, full);
  need_gradients(layout_.token_unit);
  embedding_backward(context, full, batch.tokens, head_.vocab_start(), parameters_->gradient(layout_.token_table));
  added_gradients(layout_.token_unit);
}

void Gpt::logits(const Context& context, const Tensor& hidden, const Tensor& norm,
                 const Tensor& out) const {
  layernorm_forward(context, hidden, parameters_->weight(layout_.final_weight),
                    parameters_->weight(layout_.final_bias), static_cast<float>(shape_.config.layernorm_epsilon),
                    norm, {}, {});
  linear_forward(context, norm, parameters_->weight(layout_.token_table), {}, out);
}

}  // namespace triax
