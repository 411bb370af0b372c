// BERT (Devlin et al. 2019): an encoder that sees both ways, and the heads of its pretraining and of the
// tasks it is tuned for. One rank, f32.
//
// A batch is sequences packed one behind the other: n tokens in all, b spans, no padding. No arithmetic is
// spent on what is not a token, whatever the lengths.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "triax/models/bert_config.h"
#include "triax/nn/lm_head.h"

namespace triax {

struct BertInput {
  Tensor tokens, types, positions;  // i32 [n]; positions count within each sequence
  TokenLayout layout;               // one span a sequence; the first token of each is [CLS]
};

// What is to be learned. Which fields are used depends on the head; weights are each one's share in the
// loss (0: not counted).
struct BertTargets {
  // tokens: class of every token. sequence: of every sequence. choice: of every group of `choices`
  // sequences. pretraining: the token behind each masked row.
  std::span<const int32_t> labels;
  std::span<const float> weights;     // as labels; spans: [b]
  std::span<const float> values;      // sequence with one label: numbers [b], squared error
  std::span<const int32_t> starts, ends;  // spans: first and last token of the answer, rows of the batch [b]
  int64_t choices = 0;
  // pretraining
  std::span<const int32_t> masked;    // rows of the batch
  std::span<const int32_t> order;     // 0 or 1 for each sequence; empty: that head is not trained
};

// What a batch of n tokens keeps between forward and backward, and the temporaries.
struct BertMemory {
  Tensor embedding_sum;                          // [n, h]
  Tensor embedding_mean, embedding_rstd;         // f32 [n]
  std::vector<Tensor> inputs;                    // [n, h] of each layer, and the last one's output
  std::vector<BlockStash> blocks;
  Tensor final_output, final_mean, final_rstd;   // pre-LayerNorm only
  Tensor gradient;                               // [n, h]
  BlockWorkspace block;
  size_t mark = 0;                               // of the arena, behind all this: the head's memory
};

class Bert {
 public:
  Bert(const BertConfig& config, const BertHeadConfig& head, Recompute recompute, bool with_gradients);

  const BertConfig& config() const { return config_; }
  const BertHeadConfig& head() const { return head_; }
  Parameters& parameters() { return *parameters_; }
  const Parameters& parameters() const { return *parameters_; }

  // Bytes that a batch of up to n tokens in b sequences (with m masked tokens) takes.
  size_t memory_bytes(int64_t n, int64_t b, int64_t m, bool with_backward) const;

  // Adds the gradients of the loss to the parameters' and returns the loss: the weighted sum of the terms.
  // The arena is used from its beginning.
  double train(const Context& context, const BertInput& input, const BertTargets& targets, Arena& arena) const;
  // The loss alone.
  double loss(const Context& context, const BertInput& input, const BertTargets& targets, Arena& arena) const;
  // What the head computes, in memory of the arena until it is used again: tokens [n, labels], sequence
  // [b, labels], choice [b, 1], spans [n, 2], none the encoder's output [n, h], pretraining the logits
  // [m, v] of the rows `masked`. No dropout.
  Tensor predict(const Context& context, const BertInput& input, Arena& arena, std::span<const int32_t> masked = {}) const;
  // pretraining: [b, 2], whether the second text follows.
  Tensor predict_order(const Context& context, const BertInput& input, Arena& arena) const;

 private:
  struct HeadMemory;
  void declare_head(ParameterTable& table);
  BertMemory allocate(int64_t n, bool with_backward, Arena& arena) const;
  Tensor encode(const Context& context, const BertInput& input, BertMemory& memory) const;
  void embed(const Context& context, const BertInput& input, BertMemory& memory) const;
  void encode_backward(const Context& context, const BertInput& input, BertMemory& memory) const;
  void embed_backward(const Context& context, const BertInput& input, BertMemory& memory) const;
  Dropout dropout(const BertInput& input, uint32_t site, double probability) const;

  double run(const Context& context, const BertInput& input, const BertTargets& targets, bool with_gradient, Arena& arena) const;
  Tensor pool(const Context& context, const BertInput& input, const Tensor& hidden, HeadMemory& head, Arena& arena) const;
  void pool_backward(const Context& context, const Tensor& dpooled, HeadMemory& head, const Tensor& gradient, Arena& arena) const;
  Tensor classify(const Context& context, const BertInput& input, const Tensor& x, HeadMemory& head, Arena& arena) const;
  Tensor classify_backward(const Context& context, const BertInput& input, const Tensor& dlogits, HeadMemory& head, Arena& arena) const;
  Tensor transform_masked(const Context& context, const Tensor& hidden, HeadMemory& head, Arena& arena) const;
  double classifier_loss(const Context& context, const BertInput& input, const BertTargets& targets, const Tensor& logits,
                         bool with_gradient, Arena& arena) const;
  double pretraining_loss(const Context& context, const BertInput& input, const BertTargets& targets, const Tensor& hidden,
                          const Tensor& gradient, bool with_gradient, Arena& arena) const;
  Tensor weight(int index) const { return parameters_->weight(index); }
  Tensor gradient_of(int index) const { return parameters_->gradient(index); }

  BertConfig config_;
  BertHeadConfig head_;
  Recompute recompute_;
  // Indices into the parameter table; -1 where the model has none.
  int token_ = -1, position_ = -1, type_ = -1, embedding_norm_weight_ = -1, embedding_norm_bias_ = -1, final_weight_ = -1,
      final_bias_ = -1, pooler_weight_ = -1, pooler_bias_ = -1, classifier_hidden_weight_ = -1, classifier_hidden_bias_ = -1,
      classifier_weight_ = -1, classifier_bias_ = -1, transform_weight_ = -1, transform_bias_ = -1, transform_norm_weight_ = -1,
      transform_norm_bias_ = -1, decoder_bias_ = -1, order_weight_ = -1, order_bias_ = -1;
  std::unique_ptr<Parameters> parameters_;
  std::vector<TransformerBlock> blocks_;
};

}  // namespace triax
