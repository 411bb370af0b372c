#include "triax/models/bert.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/kernels/layernorm.h"
#include "triax/models/bert_sites.h"

namespace triax {
Bert::Bert(const BertConfig& config, const BertHeadConfig& head, Recompute recompute, bool with_gradients)
    : config_(config), head_(head), recompute_(recompute) {
  config.validate();
  const int64_t h = config.hidden_size;
  ParameterTable table;
  table.begin_unit("embedding");
  token_ = table.add(ParameterSpec::make_matrix("embedding.token", config.vocab_size, h, config.init_std));
  position_ = table.add(ParameterSpec::make_matrix("embedding.position", config.max_positions, h, config.init_std));
  type_ = table.add(ParameterSpec::make_matrix("embedding.type", config.num_types, h, config.init_std));
  if (config.post_norm) {
    embedding_norm_weight_ = table.add(ParameterSpec::make_vector("embedding.norm.weight", h, Init::ones));
    embedding_norm_bias_ = table.add(ParameterSpec::make_vector("embedding.norm.bias", h));
  }
  std::vector<BlockParameters> blocks;
  for (int64_t i = 0; i < config.num_layers; ++i) blocks.push_back(declare_block(config.block(), i, 0, 1, table));
  table.begin_unit("head");
  if (!config.post_norm) {
    final_weight_ = table.add(ParameterSpec::make_vector("final_norm.weight", h, Init::ones));
    final_bias_ = table.add(ParameterSpec::make_vector("final_norm.bias", h));
  }
  declare_head(table);
  parameters_ = std::make_unique<Parameters>(std::move(table), DType::f32, with_gradients);
  for (int64_t i = 0; i < config.num_layers; ++i)
    blocks_.emplace_back(config.block(), i, blocks[static_cast<size_t>(i)], *parameters_, TensorParallel{});
}

void Bert::declare_head(ParameterTable& table) {
  const int64_t h = config_.hidden_size, outputs = head_.outputs();
  if (head_.has_pooler()) {
    pooler_weight_ = table.add(ParameterSpec::make_matrix("pooler.weight", h, h, config_.init_std));
    pooler_bias_ = table.add(ParameterSpec::make_vector("pooler.bias", h));
  }
  if (head_.head == BertHead::pretraining) {
    transform_weight_ = table.add(ParameterSpec::make_matrix("masked.transform.weight", h, h, config_.init_std));
    transform_bias_ = table.add(ParameterSpec::make_vector("masked.transform.bias", h));
    transform_norm_weight_ = table.add(ParameterSpec::make_vector("masked.norm.weight", h, Init::ones));
    transform_norm_bias_ = table.add(ParameterSpec::make_vector("masked.norm.bias", h));
    decoder_bias_ = table.add(ParameterSpec::make_vector("masked.bias", config_.vocab_size));
    order_weight_ = table.add(ParameterSpec::make_matrix("order.weight", 2, h, config_.init_std));
    order_bias_ = table.add(ParameterSpec::make_vector("order.bias", 2));
  } else if (head_.head != BertHead::none) {
    check(outputs > 0, "a head of {} labels cannot tell anything apart", outputs);
    table.begin_unit("classifier");  // which may have a learning rate of its own
    const int64_t inner = head_.hidden_size;
    if (inner > 0) {
      classifier_hidden_weight_ = table.add(ParameterSpec::make_matrix("classifier.hidden.weight", inner, h, config_.init_std));
      classifier_hidden_bias_ = table.add(ParameterSpec::make_vector("classifier.hidden.bias", inner));
    }
    classifier_weight_ = table.add(ParameterSpec::make_matrix("classifier.weight", outputs, inner > 0 ? inner : h, config_.init_std));
    classifier_bias_ = table.add(ParameterSpec::make_vector("classifier.bias", outputs));
  }
}

BertMemory Bert::allocate(int64_t n, bool with_backward, Arena& arena) const {
  const int64_t h = config_.hidden_size;
  BertMemory m;
  arena.release(0);
  m.embedding_sum = arena.allocate({n, h}, DType::f32);
  m.embedding_mean = arena.allocate({n}, DType::f32);
  m.embedding_rstd = arena.allocate({n}, DType::f32);
  const BlockConfig block = config_.block();
  if (with_backward) {
    for (int64_t i = 0; i <= config_.num_layers; ++i) m.inputs.push_back(arena.allocate({n, h}, DType::f32));
    for (int64_t i = 0; i < config_.num_layers; ++i)
      m.blocks.push_back(TransformerBlock::allocate_stash(block, {}, recompute_, DType::f32, n, arena));
    m.gradient = arena.allocate({n, h}, DType::f32);
  } else {  // two activations take turns, and all layers share one stash
    const Tensor first = arena.allocate({n, h}, DType::f32), second = arena.allocate({n, h}, DType::f32);
    const BlockStash stash = TransformerBlock::allocate_stash(block, {}, recompute_, DType::f32, n, arena);
    for (int64_t i = 0; i <= config_.num_layers; ++i) m.inputs.push_back(i % 2 ? second : first);
    m.blocks.assign(static_cast<size_t>(config_.num_layers), stash);
  }
  if (!config_.post_norm) {
    m.final_output = arena.allocate({n, h}, DType::f32);
    m.final_mean = arena.allocate({n}, DType::f32);
    m.final_rstd = arena.allocate({n}, DType::f32);
  }
  m.block = TransformerBlock::allocate_workspace(block, {}, recompute_, DType::f32, n, with_backward, arena);
  m.mark = arena.mark();
  return m;
}

Dropout Bert::dropout(const BertInput& input, uint32_t site, double probability) const {
  return {.probability = input.layout.training ? static_cast<float>(probability) : 0.0f,
          .seed = input.layout.seed,
          .site = site,
          .step = input.layout.step,
          .row_offset = input.layout.first_token};
}

void Bert::embed(const Context& context, const BertInput& input, BertMemory& m) const {
  const Tensor& sum = m.embedding_sum;
  embedding_forward(context, input.tokens, weight(token_), 0, sum);
  embedding_forward(context, input.types, weight(type_), 0, m.block.partial);
  add_scaled(context, 1.0f, m.block.partial, sum);
  position_dropout_forward(context, input.positions, weight(position_), {}, sum);
  const Tensor& out = m.inputs[0];
  if (config_.post_norm)
    layernorm_forward(context, sum, weight(embedding_norm_weight_), weight(embedding_norm_bias_),
                      static_cast<float>(config_.layernorm_epsilon), out, m.embedding_mean, m.embedding_rstd);
  bias_dropout_residual_forward(context, config_.post_norm ? out : sum, {}, {}, dropout(input, bert::kEmbeddingSite, config_.hidden_dropout), out);
}

Tensor Bert::encode(const Context& context, const BertInput& input, BertMemory& m) const {
  check(input.layout.max_length <= config_.max_positions, "a sequence of {} tokens is longer than the model's {} positions",
        input.layout.max_length, config_.max_positions);
  embed(context, input, m);
  for (size_t i = 0; i < blocks_.size(); ++i)
    blocks_[i].forward(context, input.layout, m.inputs[i], m.blocks[i], m.block, m.inputs[i + 1]);
  if (config_.post_norm) return m.inputs.back();
  layernorm_forward(context, m.inputs.back(), weight(final_weight_), weight(final_bias_),
                    static_cast<float>(config_.layernorm_epsilon), m.final_output, m.final_mean, m.final_rstd);
  return m.final_output;
}

// m.gradient is that of the encoder's output.
void Bert::encode_backward(const Context& context, const BertInput& input, BertMemory& m) const {
  if (!config_.post_norm)
    layernorm_backward(context, m.gradient, m.inputs.back(), weight(final_weight_), m.final_mean, m.final_rstd, m.gradient, false,
                       gradient_of(final_weight_), gradient_of(final_bias_));
  for (size_t i = blocks_.size(); i-- > 0;)
    blocks_[i].backward(context, input.layout, m.inputs[i], m.blocks[i], m.block, m.gradient);
  embed_backward(context, input, m);
}

void Bert::embed_backward(const Context& context, const BertInput& input, BertMemory& m) const {
  const Dropout mask = dropout(input, bert::kEmbeddingSite, config_.hidden_dropout);
  if (mask.active()) bias_dropout_residual_backward(context, m.gradient, mask, m.gradient, {});
  if (config_.post_norm)
    layernorm_backward(context, m.gradient, m.embedding_sum, weight(embedding_norm_weight_), m.embedding_mean, m.embedding_rstd,
                       m.gradient, false, gradient_of(embedding_norm_weight_), gradient_of(embedding_norm_bias_));
  position_dropout_backward(context, input.positions, {}, m.gradient, gradient_of(position_));
  embedding_backward(context, m.gradient, input.types, 0, gradient_of(type_));
  embedding_backward(context, m.gradient, input.tokens, 0, gradient_of(token_));
}

}  // namespace triax
