// What a part of a model declares, and the memory it works in.
#include "triax/models/bert.h"
#include "triax/models/gpt.h"

namespace triax {
namespace {

// Along the vocabulary, padded to `padded`; padding belongs to the layout, not to the model.
ParameterSpec split_vocabulary(ParameterSpec spec, int64_t padded, int tp_rank, int tp_size) {
  spec.shape[0] = padded / tp_size;
  if (spec.offset.rank() == 0) spec.offset = {0};
  spec.offset[0] = spec.shape[0] * tp_rank;
  spec.split = true;
  return spec;
}

void declare_embedding(const ModelConfig& config, float std, StageLayout& layout) {
  const int64_t h = config.hidden_size;
  ParameterTable& table = layout.table;
  layout.position_unit = table.begin_unit("embedding.position");
  layout.position_table = table.add(ParameterSpec::make_matrix("embedding.position", config.max_positions, h, std));
  if (!config.is_bert()) return;
  layout.type_table = table.add(ParameterSpec::make_matrix("embedding.type", config.num_types, h, std));
  if (!config.post_norm) return;
  layout.embedding_norm_weight = table.add(ParameterSpec::make_vector("embedding.norm.weight", h, Init::ones));
  layout.embedding_norm_bias = table.add(ParameterSpec::make_vector("embedding.norm.bias", h));
}

// Every rank computes the heads but for the decoder as a whole, on all tokens that they see.
void declare_bert_heads(const ModelConfig& config, float std, int64_t padded, int tp_rank, int tp_size, StageLayout& layout) {
  const int64_t h = config.hidden_size;
  ParameterTable& table = layout.table;
  layout.masked_unit = table.begin_unit("masked");
  table.sees_all_tokens();
  layout.transform_weight = table.add(ParameterSpec::make_matrix("masked.transform.weight", h, h, std));
  layout.transform_bias = table.add(ParameterSpec::make_vector("masked.transform.bias", h));
  layout.masked_norm_weight = table.add(ParameterSpec::make_vector("masked.norm.weight", h, Init::ones));
  layout.masked_norm_bias = table.add(ParameterSpec::make_vector("masked.norm.bias", h));
  layout.decoder_bias = table.add(split_vocabulary(ParameterSpec::make_vector("masked.bias", config.vocab_size), padded, tp_rank, tp_size));
  layout.order_unit = table.begin_unit("order");
  table.sees_all_tokens();
  layout.pooler_weight = table.add(ParameterSpec::make_matrix("pooler.weight", h, h, std));
  layout.pooler_bias = table.add(ParameterSpec::make_vector("pooler.bias", h));
  layout.order_weight = table.add(ParameterSpec::make_matrix("order.weight", 2, h, std));
  layout.order_bias = table.add(ParameterSpec::make_vector("order.bias", 2));
}

// The same of a head for a task; the layers behind the pooler may have a learning rate of their own.
void declare_task_head(const ModelConfig& config, float std, const BertHeadConfig& head, StageLayout& layout) {
  const int64_t h = config.hidden_size, inner = head.hidden_size, outputs = head.outputs();
  ParameterTable& table = layout.table;
  if (head.has_pooler()) {
    layout.pooler_unit = table.begin_unit("pooler");
    table.sees_all_tokens();
    layout.pooler_weight = table.add(ParameterSpec::make_matrix("pooler.weight", h, h, std));
    layout.pooler_bias = table.add(ParameterSpec::make_vector("pooler.bias", h));
  }
  check(outputs > 0, "a head of {} labels cannot tell anything apart", outputs);
  layout.classifier_unit = table.begin_unit("classifier");
  table.sees_all_tokens();
  if (inner > 0) {
    layout.classifier_hidden_weight = table.add(ParameterSpec::make_matrix("classifier.hidden.weight", inner, h, std));
    layout.classifier_hidden_bias = table.add(ParameterSpec::make_vector("classifier.hidden.bias", inner));
  }
  layout.classifier_weight = table.add(ParameterSpec::make_matrix("classifier.weight", outputs, inner > 0 ? inner : h, std));
  layout.classifier_bias = table.add(ParameterSpec::make_vector("classifier.bias", outputs));
}

TaskHeadWorkspace allocate_task_head(const StageShape& shape, int64_t n, bool with_backward, Arena& arena) {
  const int64_t h = shape.config.hidden_size, b = shape.sequences, inner = shape.head.hidden_size, outputs = shape.head.outputs();
  const int64_t m = shape.head.has_pooler() ? b : n;
  const auto activations = [&](int64_t rows, int64_t width) { return arena.allocate({rows, width}, shape.compute_type); };
  TaskHeadWorkspace w;
  if (shape.head.has_pooler()) {
    w.first_rows = arena.allocate({b}, DType::i32);
    w.first = activations(b, h), w.pooled = activations(b, h);
    w.pooled_f32 = arena.allocate({b, h}, DType::f32);
  }
  w.input = activations(m, h);
  if (inner > 0) w.hidden_pre = activations(m, inner), w.hidden = activations(m, inner);
  w.logits = arena.allocate({m, outputs}, DType::f32);
  if (!with_backward) return w;
  w.dlogits = activations(m, outputs), w.dinput = activations(m, h);
  if (shape.head.has_pooler()) w.dpooled = arena.allocate({b, h}, DType::f32);
  if (inner > 0) w.dhidden = activations(m, inner);
  return w;
}

BertHeadWorkspace allocate_bert_heads(const StageShape& shape, int64_t chunk, bool with_backward, Arena& arena) {
  const int64_t h = shape.config.hidden_size, b = shape.sequences;
  BertHeadWorkspace w;
  w.rows = arena.allocate({chunk}, DType::i32);
  w.targets = arena.allocate({chunk}, DType::i32);
  w.weights = arena.allocate({chunk}, DType::f32);
  for (Tensor* x : {&w.gathered, &w.transform_pre, &w.transformed, &w.normed}) *x = arena.allocate({chunk, h}, shape.compute_type);
  for (Tensor* x : {&w.mean, &w.rstd}) *x = arena.allocate({chunk}, DType::f32);
  w.first_rows = arena.allocate({b}, DType::i32);
  for (Tensor* x : {&w.first, &w.pooled}) *x = arena.allocate({b, h}, shape.compute_type);
  w.pooled_f32 = arena.allocate({b, h}, DType::f32);
  if (with_backward) w.dpooled = arena.allocate({b, h}, DType::f32);
  w.order = Bert::order_head(h).allocate_workspace(shape.compute_type, b, arena);
  return w;
}

}  // namespace

StageLayout declare_stage(const ModelConfig& config, const ModelPart& part, int tp_rank, int tp_size, const BertHeadConfig& head) {
  const int64_t h = config.hidden_size, padded = config.padded_vocab_size(tp_size);
  const auto std = static_cast<float>(config.effective_init_std());
  StageLayout layout;
  ParameterTable& table = layout.table;
  const bool pretrains = !config.is_bert() || head.head == BertHead::pretraining;  // tokens are guessed with the table
  if (part.has_embedding || (part.has_head && pretrains)) {  // a unit of its own: first and last stage have the same one
    layout.token_unit = table.begin_unit("embedding.token");
    ParameterSpec spec = split_vocabulary(ParameterSpec::make_matrix("embedding.token", config.vocab_size, h, std), padded, tp_rank, tp_size);
    spec.tied_copy = !part.has_embedding;
    layout.token_table = table.add(std::move(spec));
  }
  if (part.has_embedding) declare_embedding(config, std, layout);
  for (int64_t i = 0; i < part.num_layers; ++i) {
    layout.blocks.push_back(declare_block(config.block(), part.first_layer + i, tp_rank, tp_size, table));
    layout.block_units.push_back(static_cast<int>(table.units().size()) - 1);
  }
  if (!part.has_head) return layout;
  if (!config.post_norm) {
    layout.final_unit = table.begin_unit("final_norm");
    layout.final_weight = table.add(ParameterSpec::make_vector("final_norm.weight", h, Init::ones));
    layout.final_bias = table.add(ParameterSpec::make_vector("final_norm.bias", h));
  }
  if (config.is_bert() && pretrains) declare_bert_heads(config, std, padded, tp_rank, tp_size, layout);
  if (config.is_bert() && head.is_task()) declare_task_head(config, std, head, layout);
  return layout;
}

StageStash StageModel::allocate_stash(const StageShape& shape, int64_t n, Arena& arena, bool with_backward) {
  const int64_t r = shape.parallel.residual_rows(n), h = shape.config.hidden_size, layers = shape.part.num_layers;
  StageStash stash;
  if (shape.part.has_embedding && shape.config.post_norm) {
    stash.embedding_sum = arena.allocate({r, h}, shape.compute_type);
    stash.embedding_mean = arena.allocate({r}, DType::f32);
    stash.embedding_rstd = arena.allocate({r}, DType::f32);
  }
  const auto shared = [&](int64_t i, int64_t kept) { return !with_backward && i >= kept; };
  for (int64_t i = 0; i < layers + (shape.part.has_head ? 1 : 0); ++i)
    stash.inputs.push_back(shared(i, 2) ? stash.inputs[static_cast<size_t>(i - 2)] : arena.allocate({r, h}, shape.compute_type));
  for (int64_t i = 0; i < layers; ++i)
    stash.blocks.push_back(shared(i, 1) ? stash.blocks[0]
                                        : TransformerBlock::allocate_stash(shape.block(), shape.parallel, shape.recompute,
                                                                           shape.compute_type, n, arena));
  if (!shape.part.has_head) return stash;
  if (!shape.config.post_norm) {
    stash.final_mean = arena.allocate({r}, DType::f32);
    stash.final_rstd = arena.allocate({r}, DType::f32);
  }
  if (with_backward) stash.gradient = arena.allocate({r, h}, shape.compute_type);
  return stash;
}

StageDeferred StageModel::allocate_deferred(const StageShape& shape, int64_t n, Arena& arena) {
  StageDeferred deferred;
  for (int64_t i = 0; i < shape.part.num_layers; ++i)
    deferred.blocks.push_back(TransformerBlock::allocate_deferred(shape.block(), shape.parallel,
                                                                  shape.compute_type, n, arena));
  return deferred;
}

StageWorkspace StageModel::allocate_workspace(const StageShape& shape, int64_t n, bool with_backward, Arena& arena) {
  const ModelConfig& config = shape.config;
  const int64_t r = shape.parallel.residual_rows(n), h = config.hidden_size;
  StageWorkspace w;
  // The head and the blocks are never at work at the same time: their temporaries share memory.
  const size_t begin = arena.mark();
  w.block = TransformerBlock::allocate_workspace(shape.block(), shape.parallel, shape.recompute,
                                                 shape.compute_type, n, shape.sequences, with_backward, arena);
  if (!shape.part.has_head) return w;
  const size_t end = arena.mark();
  arena.release(begin);
  if (!config.post_norm || shape.parallel.splits_tokens()) w.final_norm = arena.allocate({n, h}, shape.compute_type);
  if (!config.post_norm && shape.parallel.splits_tokens()) w.final_shard = arena.allocate({r, h}, shape.compute_type);
  if (shape.is_encoder()) {
    if (shape.head.is_task()) w.task = allocate_task_head(shape, n, with_backward, arena);
    if (arena.mark() < end) arena.release(end);
    return w;
  }
  const LmHead head(h, config.vocab_size, config.padded_vocab_size(shape.parallel.size()), shape.parallel);
  w.head = head.allocate_workspace(shape.compute_type, n, arena);
  if (config.is_bert()) w.bert = allocate_bert_heads(shape, w.head.logits.dim(0), with_backward, arena);
  if (arena.mark() < end) arena.release(end);
  return w;
}

std::unique_ptr<StageModel> make_stage_model(const StageShape& shape, bool with_gradients, Sharding sharding) {
  if (shape.config.is_bert()) return std::make_unique<Bert>(shape, with_gradients, sharding);
  return std::make_unique<Gpt>(shape, with_gradients, sharding);
}

}  // namespace triax
