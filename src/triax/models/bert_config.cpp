#include "triax/models/bert_config.h"

#include <cmath>

#include "triax/base/error.h"

namespace triax {

BlockConfig BertConfig::block() const {
  return {.hidden_size = hidden_size,
          .num_heads = num_heads,
          .ffn_hidden_size = ffn_size(),
          .layernorm_epsilon = static_cast<float>(layernorm_epsilon),
          .activation = activation,
          .causal = false,
          .post_norm = post_norm,
          .hidden_dropout = static_cast<float>(hidden_dropout),
          .attention_dropout = static_cast<float>(attention_dropout),
          .init_std = static_cast<float>(init_std),
          .output_init_std = static_cast<float>(init_std)};
}

void BertConfig::validate() const {
  check(vocab_size > 0 && hidden_size > 0 && num_layers > 0 && num_heads > 0 && max_positions > 0 && num_types > 0,
        "a BERT needs sizes of at least 1, not vocabulary {}, hidden {}, layers {}, heads {}, positions {}, types {}", vocab_size,
        hidden_size, num_layers, num_heads, max_positions, num_types);
  check(hidden_size % num_heads == 0, "the hidden size {} of a BERT is not a multiple of its {} heads", hidden_size, num_heads);
}

int64_t BertHeadConfig::outputs() const {
  switch (head) {
    case BertHead::tokens:
    case BertHead::sequence: return num_labels;
    case BertHead::choice: return 1;
    case BertHead::spans: return 2;
    default: return 0;
  }
}

}  // namespace triax
