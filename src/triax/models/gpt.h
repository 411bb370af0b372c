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
  Tensor gradient;                 // [r, h] of the last layer's output; filled by the head during forward
};

// What the first part of a backward in two parts leaves for the second.
struct GptDeferred {
  std::vector<BlockDeferred> blocks;
};

struct GptWorkspace {
  BlockWorkspace block;
  LmHeadWorkspace head;
  Tensor final_norm, final_shard;  // [n, h] and, when tokens are split, [r, h]
};

// The parameters of a part, as rank `tp_rank` of `tp_size` holds them, and where they are in the table.
struct GptLayout {
  ParameterTable table;
  int token_table = -1, position_table = -1, final_weight = -1, final_bias = -1;
  int token_unit = -1, position_unit = -1, final_unit = -1;
  std::vector<BlockParameters> blocks;
  std::vector<int> block_units;
};
GptLayout declare_gpt(const GptConfig& config, const ModelPart& part, int tp_rank, int tp_size);

// What the sizes of a part of a model depend on.
struct GptShape {
  GptConfig config;
  ModelPart part;
  TensorParallel parallel;
  Recompute recompute = Recompute::none;
  DType compute_type = DType::f32;
};

// A whole model on one rank, for generation.
inline GptShape whole_gpt(const GptConfig& config, DType compute_type) {
  return {config, {.first_layer = 0, .num_layers = config.num_layers}, {}, Recompute::full, compute_type};
}

class Gpt {
 public:
  Gpt(const GptShape& shape, bool with_gradients, Sharding sharding = {});

  const GptConfig& config() const { return shape_.config; }
  const ModelPart& part() const { return shape_.part; }
  Parameters& parameters() { return *parameters_; }
  const Parameters& parameters() const { return *parameters_; }
  // Told of every use of a unit's weights and gradients from now on; may be null.
  void set_unit_use(UnitUse* use) { use_ = use; }
  // How many times a unit's gradients are added to for one micro-batch.
  std::vector<int> gradient_uses(bool split_backward) const;

  // For micro-batches of n tokens; all work on a measuring arena. The static ones need no model.
  static GptStash allocate_stash(const GptShape& shape, int64_t n, Arena& arena);
  static GptDeferred allocate_deferred(const GptShape& shape, int64_t n, Arena& arena);
  static GptWorkspace allocate_workspace(const GptShape& shape, int64_t n, bool with_backward, Arena& arena);
  GptStash allocate_stash(int64_t n, Arena& arena) const { return allocate_stash(shape_, n, arena); }
  GptWorkspace allocate_workspace(int64_t n, bool with_backward, Arena& arena) const {
    return allocate_workspace(shape_, n, with_backward, arena);
  }

  // input [r, h]: the previous part's output, undefined where this part has the embedding; output [r, h]:
  // this part's, undefined where it has the head. A part with the head returns this micro-batch's share of
  // the loss, and leaves the gradient of the head's input in the stash (scaled by loss_scale) when
  // `with_gradient`; any other part returns 0.
  double forward(const Context& context, const MicroBatch& batch, const Tensor& input, const Tensor& output,
                 float loss_scale, bool with_gradient, GptStash& stash, GptWorkspace& workspace) const;
  // gradient [r, h] is that of the output (with the head: stash.gradient) on entry and that of the input on
  // return; parameter gradients are added to. With `deferred` those of the layers' matrices are left to
  // backward_weight().
  void backward(const Context& context, const MicroBatch& batch, const Tensor& gradient, GptStash& stash,
                GptWorkspace& workspace, GptDeferred* deferred = nullptr) const;
  void backward_weight(const Context& context, GptStash& stash, GptWorkspace& workspace,
                       GptDeferred& deferred) const;

  // For generation: logits [rows, v] f32 or bf16 of given rows of the last layer's output.
  void logits(const Context& context, const Tensor& hidden, const Tensor& norm,
              const Tensor& out) const;
  void embed(const Context& context, const MicroBatch& batch, GptWorkspace& workspace,
             const Tensor& out) const;
  const TransformerBlock& block(int64_t index) const { return blocks_[static_cast<size_t>(index)]; }

 private:
  double head_forward(const Context& context, const MicroBatch& batch, float loss_scale,
                      bool with_gradient, GptStash& stash, GptWorkspace& workspace) const;
  void embedding_backward_all(const Context& context, const MicroBatch& batch, const Tensor& gradient,
                              GptWorkspace& workspace) const;
  Dropout embedding_dropout(const MicroBatch& batch) const;
  void need(int unit, int next = -1) const {
    if (use_) use_->weights_needed(unit, next);
  }
  void need_gradients(int unit) const {
    if (use_) use_->gradients_needed(unit);
  }
  void added_gradients(int unit) const {
    if (use_) use_->gradients_added(unit);
  }

  GptShape shape_;
  GptLayout layout_;  // its table has moved into the parameters
  UnitUse* use_ = nullptr;
  std::unique_ptr<Parameters> parameters_;
  std::vector<TransformerBlock> blocks_;
  LmHead head_;
};

}  // namespace triax
