// BERT (Devlin et al. 2019; Shoeybi et al. 2019, section 4): an encoder that sees both ways, and the heads of its
// pretraining and of the tasks it is tuned for. A Bert is the part that one rank holds.
//
// Pretraining: logits are computed of masked tokens only, some hundred at a time. The decoder is the token table, split
// over the vocabulary between tensor-parallel ranks, with a bias; all the rest of the heads every rank computes whole.
#pragma once

#include <vector>

#include "triax/models/stage_model.h"

namespace triax {

class Bert final : public StageModel {
 public:
  Bert(const StageShape& shape, bool with_gradients, Sharding sharding = {});
  // A whole one, in f32 and without gradients: what files are read into and written from.
  explicit Bert(const ModelConfig& config, const BertHeadConfig& head = {});

  const BertHeadConfig& head() const { return shape_.head; }

  // From the pooled first token to whether the texts were exchanged: a head over a vocabulary of two.
  static LmHead order_head(int64_t hidden_size) { return {hidden_size, 2, 2, {}}; }

 private:
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
