// The shape of a BERT (Devlin et al. 2019), in the original post-LayerNorm arrangement or Megatron's
// pre-LayerNorm one (Shoeybi et al. 2019, section 4).
#pragma once

#include <cstdint>

#include "triax/nn/transformer_block.h"

namespace triax {

struct BertConfig {
  int64_t vocab_size = 30522;
  int64_t hidden_size = 768;
  int64_t num_layers = 12;
  int64_t num_heads = 12;
  int64_t ffn_hidden_size = 0;  // 0: 4 * hidden_size
  int64_t max_positions = 512;
  int64_t num_types = 2;
  bool post_norm = true;
  Activation activation = Activation::gelu_erf;
  double layernorm_epsilon = 1e-12;
  double hidden_dropout = 0.1;
  double attention_dropout = 0.1;
  double init_std = 0.02;

  int64_t ffn_size() const { return ffn_hidden_size > 0 ? ffn_hidden_size : 4 * hidden_size; }
  BlockConfig block() const;
  // Throws Error naming what does not fit together.
  void validate() const;
};

// What is computed from the encoder's output.
enum class BertHead {
  none,         // the encoder alone
  pretraining,  // masked words, and which of two texts came first
  tokens,       // a class for every token
  sequence,     // a class for every sequence, from the pooled first token; a number with one label
  choice,       // one of several sequences, likewise
  spans         // where an answer starts and ends
};

struct BertHeadConfig {
  BertHead head = BertHead::none;
  int64_t num_labels = 0;     // of tokens and sequence
  int64_t hidden_size = 0;    // of a layer before the last one; 0: none
  double dropout = 0.1;       // before each layer

  // Columns of the last layer.
  int64_t outputs() const;
  bool has_pooler() const { return head == BertHead::pretraining || head == BertHead::sequence || head == BertHead::choice; }
};

}  // namespace triax
