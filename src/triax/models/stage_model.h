// The part of a model that one rank holds: a run of layers, with the embedding in front and the head behind where it
// has them. What models share is here: the embedding, the layers, how they are laid out and run, forward and
// backward; a model adds its head (models/gpt.h, models/bert.h).
#pragma once

#include <memory>
#include <vector>

#include "triax/models/bert_head.h"
#include "triax/models/model_config.h"
#include "triax/nn/lm_head.h"
#include "triax/nn/parameters.h"

namespace triax {

// Which part of the model: layers [first_layer, first_layer + num_layers).
struct ModelPart {
  int64_t first_layer = 0, num_layers = 0;
  bool has_embedding = true, has_head = true;
};

struct MicroBatch {
  Tensor tokens, positions, targets;  // i32 [n]; of a BERT, targets and weights are in the host's memory: few rows have any
  Tensor types;                       // i32 [n]; of a BERT, as what follows
  Tensor weights;                     // f32 [n] share of each token's loss in the step's loss
  Tensor order, order_weights;        // i32, f32 [spans]: were the texts exchanged; share in the step's loss
  TokenLayout layout;
  const BertTargets* task = nullptr;  // of a BERT with the head of a task, in place of targets and orders; null: its logits only
};

// A micro-batch's share of the step's loss, by what was to be guessed: tokens, and (BERT) the order of texts.
struct StageLoss {
  double tokens = 0, order = 0;
  double total() const { return tokens + order; }
};

// What one micro-batch keeps between forward and backward.
struct StageStash {
  Tensor embedding_sum, embedding_mean, embedding_rstd;  // [r, h], f32 [r]; post-LayerNorm only
  std::vector<Tensor> inputs;      // [r, h] of each layer, and of the head
  std::vector<BlockStash> blocks;
  Tensor final_mean, final_rstd;   // f32 [r]; pre-LayerNorm only
  Tensor gradient;                 // [r, h] of the last layer's output; filled by the head during forward
};

// What the first part of a backward in two parts leaves for the second.
struct StageDeferred {
  std::vector<BlockDeferred> blocks;
};

// Temporaries of a BERT's heads: c masked tokens at a time, b sequences.
struct BertHeadWorkspace {
  Tensor rows, targets, weights;                // i32, i32, f32 [c]
  Tensor gathered, transform_pre, transformed;  // [c, h]
  Tensor normed, mean, rstd;                    // [c, h], f32 [c]
  Tensor first_rows;                            // i32 [b]
  Tensor first, pooled, pooled_f32, dpooled;    // [b, h], the last two f32
  LmHeadWorkspace order;
};

// Of a head for a task: b sequences, m rows that are classified (their first tokens, or all tokens), i wide within.
struct TaskHeadWorkspace {
  Tensor first_rows;                              // i32 [b]
  Tensor first, pooled, pooled_f32, dpooled;      // [b, h], the last two f32
  Tensor input, hidden_pre, hidden;               // [m, h], [m, i], [m, i]: what the layers of the classifier see
  Tensor logits, dlogits, dhidden, dinput;        // f32 [m, outputs], then as outputs, hidden, input
};

struct StageWorkspace {
  BlockWorkspace block;
  LmHeadWorkspace head;
  Tensor final_norm, final_shard;  // [n, h] and, when tokens are split, [r, h]
  BertHeadWorkspace bert;
  TaskHeadWorkspace task;
};

// The parameters of a part, as rank `tp_rank` of `tp_size` holds them, and where they are in the table (-1: not there).
struct StageLayout {
  ParameterTable table;
  int token_table = -1, position_table = -1, type_table = -1, embedding_norm_weight = -1, embedding_norm_bias = -1;
  int final_weight = -1, final_bias = -1;
  int transform_weight = -1, transform_bias = -1, masked_norm_weight = -1, masked_norm_bias = -1, decoder_bias = -1;
  int pooler_weight = -1, pooler_bias = -1, order_weight = -1, order_bias = -1;
  int classifier_hidden_weight = -1, classifier_hidden_bias = -1, classifier_weight = -1, classifier_bias = -1;
  int token_unit = -1, position_unit = -1, final_unit = -1, masked_unit = -1, order_unit = -1, pooler_unit = -1, classifier_unit = -1;
  std::vector<BlockParameters> blocks;
  std::vector<int> block_units;
};
StageLayout declare_stage(const ModelConfig& config, const ModelPart& part, int tp_rank, int tp_size, const BertHeadConfig& head = kPretraining);

// What the sizes of a part of a model depend on.
struct StageShape {
  ModelConfig config;
  ModelPart part;
  TensorParallel parallel;
  Recompute recompute = Recompute::none;
  DType compute_type = DType::f32;
  int64_t sequences = 1;  // of a micro-batch, at most
  BertHeadConfig head = kPretraining;  // of a BERT
  Device device = {};
  AttentionBackend attention = AttentionBackend::own;

  BlockConfig block() const {
    BlockConfig block = config.block();
    block.attention = attention;
    return block;
  }
  // A BERT that guesses no tokens: its head does without the token table.
  bool is_encoder() const { return config.is_bert() && head.head != BertHead::pretraining; }
};

class StageModel {
 public:
  virtual ~StageModel() = default;
  StageModel(StageModel&&) = default;

  const ModelConfig& config() const { return shape_.config; }
  const ModelPart& part() const { return shape_.part; }
  Parameters& parameters() { return *parameters_; }
  const Parameters& parameters() const { return *parameters_; }
  // Told of every use of a unit's weights and gradients from now on; may be null.
  void set_unit_use(UnitUse* use) { use_ = use; }
  // How many times a unit's gradients are added to for one micro-batch.
  std::vector<int> gradient_uses(bool split_backward) const;

  // For micro-batches of n tokens; all work on a measuring arena. The static ones need no model.
  // Without a backward to come all layers share one stash, and two activations take turns.
  static StageStash allocate_stash(const StageShape& shape, int64_t n, Arena& arena, bool with_backward = true);
  static StageDeferred allocate_deferred(const StageShape& shape, int64_t n, Arena& arena);
  static StageWorkspace allocate_workspace(const StageShape& shape, int64_t n, bool with_backward, Arena& arena);
  StageStash allocate_stash(int64_t n, Arena& arena) const { return allocate_stash(shape_, n, arena); }
  StageWorkspace allocate_workspace(int64_t n, bool with_backward, Arena& arena) const {
    return allocate_workspace(shape_, n, with_backward, arena);
  }

  // input [r, h]: the previous part's output, undefined where this part has the embedding; output [r, h]:
  // this part's, undefined where it has the head. A part with the head returns this micro-batch's share of
  // the loss, and leaves the gradient of the head's input in the stash (scaled by loss_scale) when
  // `with_gradient`; any other part returns 0.
  StageLoss forward(const Context& context, const MicroBatch& batch, const Tensor& input, const Tensor& output,
                    float loss_scale, bool with_gradient, StageStash& stash, StageWorkspace& workspace) const;
  // gradient [r, h] is that of the output (with the head: stash.gradient) on entry and that of the input on
  // return; parameter gradients are added to. With `deferred` those of the layers' matrices are left to
  // backward_weight().
  void backward(const Context& context, const MicroBatch& batch, const Tensor& gradient, StageStash& stash,
                StageWorkspace& workspace, StageDeferred* deferred = nullptr) const;
  void backward_weight(const Context& context, StageStash& stash, StageWorkspace& workspace,
                       StageDeferred& deferred) const;

  // What the first layer sees of the tokens: out [r, h]. `stash` is used with post-LayerNorm only.
  void embed(const Context& context, const MicroBatch& batch, const StageStash& stash, StageWorkspace& workspace,
             const Tensor& out) const;
  const TransformerBlock& block(int64_t index) const { return blocks_[static_cast<size_t>(index)]; }

 protected:
  StageModel(const StageShape& shape, bool with_gradients, Sharding sharding);

  virtual StageLoss head_forward(const Context& context, const MicroBatch& batch, float loss_scale, bool with_gradient,
                                 StageStash& stash, StageWorkspace& workspace) const = 0;
  // The last norm of a pre-LayerNorm model, of all tokens, in workspace.final_norm.
  void final_norm_forward(const Context& context, const StageStash& stash, StageWorkspace& workspace) const;
  // From the gradient of its output [r, h] to stash.gradient, which may be the same.
  void final_norm_backward(const Context& context, const Tensor& gradient, StageStash& stash) const;

  Tensor weight(int index) const { return parameters_->weight(index); }
  Tensor gradient_of(int index) const { return parameters_->gradient(index); }
  float epsilon() const { return static_cast<float>(shape_.config.layernorm_epsilon); }
  void need(int unit, int next = -1) const {
    if (use_) use_->weights_needed(unit, next);
  }
  void need_gradients(int unit) const {
    if (use_) use_->gradients_needed(unit);
  }
  void added_gradients(int unit) const {
    if (use_) use_->gradients_added(unit);
  }

  StageShape shape_;
  StageLayout layout_;  // its table has moved into the parameters
  LmHead head_;

 private:
  void embed_backward(const Context& context, const MicroBatch& batch, const Tensor& gradient, const StageStash& stash,
                      StageWorkspace& workspace) const;
  Dropout embedding_dropout(const MicroBatch& batch) const;

  UnitUse* use_ = nullptr;
  std::unique_ptr<Parameters> parameters_;
  std::vector<TransformerBlock> blocks_;
};

// A part of the model that shape.config says.
std::unique_ptr<StageModel> make_stage_model(const StageShape& shape, bool with_gradients, Sharding sharding = {});

}  // namespace triax
