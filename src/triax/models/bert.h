// BERT (Devlin et al. 2019; Shoeybi et al. 2019, section 4): an encoder that sees both ways, and the heads of its
// pretraining and of the tasks it is tuned for. A Bert is the part that one rank holds; a whole one on one rank has
// batches, losses and predictions of its own besides.
//
// Pretraining: logits are computed of masked tokens only, some hundred at a time. The decoder is the token table, split
// over the vocabulary between tensor-parallel ranks, with a bias; all the rest of the heads every rank computes whole.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "triax/models/stage_model.h"

namespace triax {

// Sequences packed one behind the other: n tokens in all, b spans, no padding. No arithmetic is spent on what is not a
// token, whatever the lengths.
struct BertInput {
  Tensor tokens, types, positions;  // i32 [n]; positions count within each sequence
  TokenLayout layout;               // one span a sequence; the first token of each is [CLS]
};

class Bert final : public StageModel {
 public:
  Bert(const StageShape& shape, bool with_gradients, Sharding sharding = {});
  // A whole one, as all that follows expects it.
  Bert(const ModelConfig& config, const BertHeadConfig& head, Recompute recompute, bool with_gradients,
       DType compute_type = DType::f32);

  const BertHeadConfig& head() const { return shape_.head; }

  // Bytes that a batch of up to n tokens in b sequences (with m masked tokens) takes.
  size_t memory_bytes(int64_t n, int64_t b, int64_t m, bool with_backward) const;

  // Adds the gradients of the loss to the parameters' and returns the loss: the weighted sum of the terms.
  // The arena is used from its beginning.
  double train(const Context& context, const BertInput& input, const BertTargets& targets, Arena& arena) const;
  // The loss alone.
  double loss(const Context& context, const BertInput& input, const BertTargets& targets, Arena& arena) const;
  // What the head computes, f32, in memory of the arena until it is used again: tokens [n, labels], sequence
  // [b, labels], choice [b, 1], spans [n, 2], none the encoder's output [n, h] in the compute type, pretraining the
  // logits [m, v] of the rows `masked`. No dropout.
  Tensor predict(const Context& context, const BertInput& input, Arena& arena, std::span<const int32_t> masked = {}) const;
  // pretraining: [b, 2], whether the second text follows.
  Tensor predict_order(const Context& context, const BertInput& input, Arena& arena) const;

  // From the pooled first token to whether the texts were exchanged: a head over a vocabulary of two.
  static LmHead order_head(int64_t hidden_size) { return {hidden_size, 2, 2, {}}; }

 private:
  struct Batch;  // of a whole model
  Batch stage(const BertInput& input, const BertTargets* targets, bool with_backward, Arena& arena) const;
  double run(const Context& context, const BertInput& input, const BertTargets& targets, bool with_gradient, Arena& arena) const;
  Tensor masked_logits(const Context& context, const Tensor& hidden, std::span<const int32_t> masked, Arena& arena) const;

  StageLoss head_forward(const Context& context, const MicroBatch& batch, float loss_scale, bool with_gradient,
                         StageStash& stash, StageWorkspace& workspace) const override;
  Tensor last_hidden(const Context& context, const StageStash& stash, StageWorkspace& workspace) const;
  void add_rows(const Context& context, const Tensor& rows, const Tensor& values, int64_t n, const Tensor& gradient) const;

  // Pretraining.
  double masked_loss(const Context& context, const MicroBatch& batch, const Tensor& hidden, float loss_scale,
                     bool with_gradient, StageStash& stash, StageWorkspace& workspace) const;
  double masked_chunk(const Context& context, const Tensor& hidden, float loss_scale, const BertHeadWorkspace& w,
                      LmHeadWorkspace& logits, const Tensor& gradient) const;
  void transform_masked(const Context& context, const Tensor& hidden, const BertHeadWorkspace& w) const;
  double order_loss(const Context& context, const MicroBatch& batch, const Tensor& hidden, float loss_scale,
                    bool with_gradient, StageStash& stash, StageWorkspace& workspace) const;

  // Tasks.
  double task_loss(const Context& context, const MicroBatch& batch, const Tensor& hidden, float loss_scale,
                   bool with_gradient, StageStash& stash, StageWorkspace& workspace) const;
  void classify(const Context& context, const MicroBatch& batch, const Tensor& x, const TaskHeadWorkspace& w) const;
  void classify_backward(const Context& context, const MicroBatch& batch, const TaskHeadWorkspace& w) const;
  double classifier_loss(const MicroBatch& batch, const Tensor& logits, bool with_gradient) const;
  std::vector<Dropout> head_dropout(const MicroBatch& batch, uint32_t site) const;

  // Both: the first token of every sequence, through the pooler. `pooled` has the result in the compute type, and on the way
  // back the gradient of it, which is added to that of `hidden`.
  void pool(const Context& context, const MicroBatch& batch, const Tensor& hidden, const Tensor& rows, const Tensor& first,
            const Tensor& pooled, const Tensor& tanh) const;
  void pool_backward(const Context& context, const Tensor& pooled, const Tensor& rows, const Tensor& first, const Tensor& tanh,
                     const Tensor& scratch, int64_t n, const Tensor& gradient) const;
};

}  // namespace triax
