// GPT (Radford et al. 2019, as in Narayanan et al. 2021): learned positions, pre-LayerNorm blocks, head
// tied to the token embedding. A Gpt is the part of the model that one rank holds: a run of layers,
// with the embedding in front and the head behind where it has them.
#pragma once

#include <memory>
#include <vector>

#include "triax/models/gpt_config.h"
#include "triax/nn/lm_head.h"
#include "triax/nn/parameters.h"

namespace triax {

// Which part of the model: layers [first_layer, first_layer + num_layers).
struct ModelPart {
  int64_t first_layer = 0, num_layers = 0;
  bool has_embedding = true, has_head = true;
};

struct MicroBatch {
  Tensor tokens, positions, targets;  // i32 [n]
  Tensor weights;                     // f32 [n] share of each token's loss in the step's loss
  TokenLayout layout;
};

// What one micro-batch keeps between forward and backward.
struct GptStash {
  std::vector<Tensor> inputs;      // [r, h] of each layer, and of the head
  std::vector<BlockStash> blocks;
  Tensor final_mean, final_rstd;   // f32 [r]
  Tensor gradient;                 // [r, h] of the part's output; filled by the head during forward
};

struct GptWorkspace {
  BlockWorkspace block;
  LmHeadWorkspace head;
  Tensor final_norm, final_shard;  // [n, h] and, when tokens are split, [r, h]
};

class Gpt {
 public:
  Gpt(const GptConfig& config, const ModelPart& part, const TensorParallel& parallel,
      Recompute recompute, DType compute_type, bool with_gradients);

  const GptConfig& config() const { return config_; }
  const ModelPart& part() const { return part_; }
  Parameters& parameters() { return *parameters_; }
  const Parameters& parameters() const { return *parameters_; }

  // For micro-batches of n tokens; both work on a measuring arena.
  GptStash allocate_stash(int64_t n, Arena& arena) const;
  GptWorkspace allocate_workspace(int64_t n, bool with_backward, Arena& arena) const;

  // input: the previous part's output [r, h], undefined where this part has the embedding. A part with
  // the head returns this micro-batch's share of the loss, and leaves the gradient of its input to the
  // head in the stash (scaled by loss_scale) when `with_gradient`; any other part returns 0 and its
  // output is stash.inputs.back().
  double forward(const Context& context, const MicroBatch& batch, const Tensor& input,
                 float loss_scale, bool with_gradient, GptStash& stash,
                 GptWorkspace& workspace) const;
  // stash.gradient [r, h] is that of the output on entry and that of the input on return; parameter
  // gradients are added to.
  void backward(const Context& context, const MicroBatch& batch, GptStash& stash,
                GptWorkspace& workspace) const;

  // For generation: logits [rows, v] f32 or bf16 of given rows of the last layer's output.
  void logits(const Context& context, const Tensor& hidden, const Tensor& norm,
              const Tensor& out) const;
  void embed(const Context& context, const MicroBatch& batch, GptWorkspace& workspace,
             const Tensor& out) const;
  const TransformerBlock& block(int64_t index) const { return blocks_[static_cast<size_t>(index)]; }

 private:
  double head_forward(const Context& context, const MicroBatch& batch, float loss_scale,
                      bool with_gradient, GptStash& stash, GptWorkspace& workspace) const;
  Dropout embedding_dropout(const MicroBatch& batch) const;

  GptConfig config_;
  ModelPart part_;
  TensorParallel parallel_;
  Recompute recompute_;
  int token_table_ = -1, position_table_ = -1, final_weight_ = -1, final_bias_ = -1;
  std::unique_ptr<Parameters> parameters_;
  std::vector<TransformerBlock> blocks_;
  LmHead head_;
};

}  // namespace triax
