// BERT in pretraining (Devlin et al. 2019; Shoeybi et al. 2019, section 4): the part of the encoder that one rank
// holds, with the heads of masked tokens and of the order of two texts on the last one. Its parameters have the names
// that Bert (models/bert.h) gives them.
//
// Logits are computed of masked tokens only, some hundred at a time. The decoder is the token table, split over the
// vocabulary between tensor-parallel ranks, with a bias; the small rest of the heads every rank computes whole.
#pragma once

#include "triax/models/stage_model.h"

namespace triax {

class BertPretraining final : public StageModel {
 public:
  BertPretraining(const StageShape& shape, bool with_gradients, Sharding sharding = {});

  // From the pooled first token to whether the texts were exchanged: a head over a vocabulary of two.
  static LmHead order_head(int64_t hidden_size) { return {hidden_size, 2, 2, {}}; }

 private:
  StageLoss head_forward(const Context& context, const MicroBatch& batch, float loss_scale, bool with_gradient,
                         StageStash& stash, StageWorkspace& workspace) const override;
  double masked_loss(const Context& context, const MicroBatch& batch, const Tensor& hidden, float loss_scale,
                     bool with_gradient, StageStash& stash, StageWorkspace& workspace) const;
  double masked_chunk(const Context& context, const Tensor& hidden, float loss_scale, const BertHeadWorkspace& w,
                      LmHeadWorkspace& logits, const Tensor& gradient) const;
  double order_loss(const Context& context, const MicroBatch& batch, const Tensor& hidden, float loss_scale,
                    bool with_gradient, StageStash& stash, StageWorkspace& workspace) const;
  void add_rows(const Context& context, const Tensor& rows, const Tensor& values, int64_t n, const Tensor& gradient) const;
};

}  // namespace triax
