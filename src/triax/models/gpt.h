// GPT (Radford et al. 2019, as in Narayanan et al. 2021): learned positions, pre-LayerNorm blocks, head
// tied to the token embedding. A Gpt is the part of the model that one rank holds.
#pragma once

#include "triax/models/stage_model.h"

namespace triax {

// A whole model on one rank, for generation.
inline StageShape whole_gpt(const ModelConfig& config, DType compute_type, Device device = {}) {
  return {.config = config, .part = {.first_layer = 0, .num_layers = config.num_layers}, .parallel = {},
          .recompute = Recompute::full, .compute_type = compute_type, .device = device};
}

class Gpt final : public StageModel {
 public:
  Gpt(const StageShape& shape, bool with_gradients, Sharding sharding = {});

  // For generation: logits [rows, v] f32 or bf16 of given rows of the last layer's output.
  void logits(const Context& context, const Tensor& hidden, const Tensor& norm,
              const Tensor& out) const;

 private:
  StageLoss head_forward(const Context& context, const MicroBatch& batch, float loss_scale, bool with_gradient,
                         StageStash& stash, StageWorkspace& workspace) const override;
};

}  // namespace triax
