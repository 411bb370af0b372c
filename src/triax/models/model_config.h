// The shape of a model that triax trains, as its TOML section [model]: a GPT (Radford et al. 2019), or a BERT
// (Devlin et al. 2019) in the original post-LayerNorm arrangement or Megatron's pre-LayerNorm one (Shoeybi et al.
// 2019, section 4).
#pragma once

#include <cmath>
#include <cstdint>

#include "triax/base/numbers.h"
#include "triax/nn/transformer_block.h"

namespace triax {

enum class ModelKind { gpt, bert };

struct ModelConfig {
  ModelKind kind = ModelKind::gpt;
  int64_t vocab_size = 50257;
  int64_t hidden_size = 768;
  int64_t num_layers = 12;
  int64_t num_heads = 12;
  int64_t ffn_hidden_size = 0;  // 0: 4 * hidden_size
  int64_t max_positions = 1024;
  Activation activation = Activation::gelu_tanh;
  double layernorm_epsilon = 1e-5;
  double hidden_dropout = 0.1;
  double attention_dropout = 0.1;
  double init_std = 0.02;  // 0: sqrt(1 / (3 h))
  int64_t vocab_multiple = 128;
  int64_t num_types = 2;  // of a BERT, as is post_norm
  bool post_norm = false;

  template <class V>
  void visit(V& v) {
    v("kind", kind, "gpt: predicts the next token; bert: guesses masked tokens, and which of two texts came first", {"gpt", "bert"});
    v("vocab_size", vocab_size, "tokens in the vocabulary; 0: take it from the data's tokenizer").at_least(0);
    v("hidden_size", hidden_size, "width of the residual stream, h").at_least(1);
    v("num_layers", num_layers, "transformer layers").at_least(1);
    v("num_heads", num_heads, "attention heads; must divide hidden_size").at_least(1);
    v("ffn_hidden_size", ffn_hidden_size, "width of the MLP; 0 means 4 * hidden_size").at_least(0);
    v("max_positions", max_positions, "learned positions: the longest sequence the model can see").at_least(1);
    v("activation", activation, "of the MLP", {"gelu_tanh", "gelu_erf"});
    v("layernorm_epsilon", layernorm_epsilon, "added to the variance in LayerNorm").between(1e-12, 1);
    v("hidden_dropout", hidden_dropout, "dropout of embeddings and of each sub-layer's output").between(0, 0.99);
    v("attention_dropout", attention_dropout, "dropout of attention probabilities").between(0, 0.99);
    v("init_std", init_std,
      "standard deviation of initial weights; 0 means sqrt(1 / (3 * hidden_size)); output projections "
      "are scaled by 1 / sqrt(2 * num_layers), but not with post_norm").between(0, 1);
    v("vocab_multiple", vocab_multiple,
      "the embedding table is padded to a multiple of this, times tensor_parallel").at_least(1);
    v("num_types", num_types, "bert: kinds of tokens, those of the first and of the second text").between(1, 1024);
    v("post_norm", post_norm, "bert: LayerNorm behind each sub-layer, as in the original, not before it");
  }

  int64_t ffn_size() const { return ffn_hidden_size > 0 ? ffn_hidden_size : 4 * hidden_size; }
  int64_t padded_vocab_size(int tensor_parallel = 1) const {
    return round_up(vocab_size, vocab_multiple * tensor_parallel);
  }
  double effective_init_std() const {
    return init_std > 0 ? init_std : std::sqrt(1.0 / (3.0 * static_cast<double>(hidden_size)));
  }
  BlockConfig block() const;
  bool is_bert() const { return kind == ModelKind::bert; }

  // What no single key can tell: throws Error naming the keys and what would be right.
  void validate(int tensor_parallel = 1) const;

  // P of Eq. 2 in Narayanan et al. 2021, for the unpadded vocabulary, exactly: embeddings, layers, norms; of a BERT
  // also the pooler and both heads of its pretraining.
  int64_t num_parameters() const;
  // FLOPs of the matrix products, forward and backward, for one token of a sequence of s as the papers
  // count them: three times the forward's, attention in full (Eq. 3 less its recomputation; Eq. 7 of
  // Korthikanti et al. 2022). A BERT's logits are of its masked tokens only.
  double flops_per_token(int64_t sequence_length) const;
  // The same, but of a GPT's causal attention only the half that is needed: what MFU is reported with here.
  double needed_flops_per_token(int64_t sequence_length) const;
};

// BERT-base as published (Devlin et al. 2019).
ModelConfig original_bert();

// Share of a BERT's tokens that are masked, as published; what its head costs is reckoned with it.
constexpr double kMaskedShare = 0.15;

}  // namespace triax
