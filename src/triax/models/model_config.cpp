#include "triax/models/model_config.h"

#include "triax/base/error.h"

namespace triax {

BlockConfig ModelConfig::block() const {
  const auto std = static_cast<float>(effective_init_std());
  return {.hidden_size = hidden_size,
          .num_heads = num_heads,
          .ffn_hidden_size = ffn_size(),
          .layernorm_epsilon = static_cast<float>(layernorm_epsilon),
          .activation = activation,
          .causal = !is_bert(),
          .post_norm = post_norm,
          .hidden_dropout = static_cast<float>(hidden_dropout),
          .attention_dropout = static_cast<float>(attention_dropout),
          .init_std = std,
          .output_init_std = post_norm ? std : std / std::sqrt(2.0f * static_cast<float>(num_layers))};
}

ModelConfig original_bert() {
  return {.kind = ModelKind::bert, .vocab_size = 30522, .max_positions = 512, .activation = Activation::gelu_erf,
          .layernorm_epsilon = 1e-12, .post_norm = true};
}

void ModelConfig::validate(int tensor_parallel) const {
  check(is_bert() || !post_norm, "model.post_norm is for model.kind = \"bert\"; a GPT has its norms before the sub-layers");
  check(vocab_size > 0, "model.vocab_size is not known: set it, or data.tokenizer to take it from");
  if (hidden_size % num_heads != 0) {
    int64_t lower = num_heads;
    while (hidden_size % lower != 0) --lower;
    fail("model.hidden_size = {} cannot be shared by model.num_heads = {}; {} heads of {} would fit",
         hidden_size, num_heads, lower, hidden_size / lower);
  }
  check(num_heads % tensor_parallel == 0,
        "model.num_heads = {} cannot be split over tensor_parallel = {} ranks", num_heads, tensor_parallel);
  check(ffn_size() % tensor_parallel == 0,
        "model.ffn_hidden_size = {} cannot be split over tensor_parallel = {} ranks", ffn_size(),
        tensor_parallel);
}

int64_t ModelConfig::num_parameters() const {
  const int64_t h = hidden_size, f = ffn_size();
  const int64_t layer = 4 * h * h + 4 * h + 2 * h * f + f + h + 4 * h;
  const int64_t encoder = (vocab_size + max_positions) * h + num_layers * layer + 2 * h;
  if (!is_bert()) return encoder;
  const int64_t pooler = h * h + h, masked = h * h + 3 * h + vocab_size, order = 2 * h + 2;
  return encoder + num_types * h + pooler + masked + order;
}

double ModelConfig::flops_per_token(int64_t sequence_length) const {
  const auto h = static_cast<double>(hidden_size), f = static_cast<double>(ffn_size());
  const auto s = static_cast<double>(sequence_length), layers = static_cast<double>(num_layers);
  const double logits = 2 * h * static_cast<double>(vocab_size);
  const double head = is_bert() ? kMaskedShare * (2 * h * h + logits) : logits;
  return 3 * (layers * (8 * h * h + 4 * s * h + 4 * h * f) + head);
}

double ModelConfig::needed_flops_per_token(int64_t sequence_length) const {
  if (is_bert()) return flops_per_token(sequence_length);
  const auto h = static_cast<double>(hidden_size), s = static_cast<double>(sequence_length);
  const double unneeded_keys = (s - 1) / 2;  // a token sees (s + 1) / 2 keys on average
  return flops_per_token(sequence_length) - 3 * static_cast<double>(num_layers) * 4 * unneeded_keys * h;
}

}  // namespace triax
