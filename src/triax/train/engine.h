// The engine: one rank's part of a model, its optimizer and the memory they work in. One call is one optimizer
// step over the micro-batches it is given; it knows nothing of files, logs or schedules of the learning rate. One that only
// predicts (EngineConfig::training) has no optimizer.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "triax/base/trace.h"
#include "triax/comm/process_grid.h"
#include "triax/kernels/device_queue.h"
#include "triax/optim/data_parallel.h"
#include "triax/optim/loss_scaler.h"
#include "triax/pipeline/executor.h"
#include "triax/train/engine_plan.h"

namespace triax {

// What the head of a task is to learn of a packed micro-batch (models/bert_head.h, BertTargets): weights are shares of the
// step's loss.
struct TaskTargets {
  std::vector<int32_t> labels, starts, ends;
  std::vector<float> weights, values;
  int64_t choices = 0;
};

// One micro-batch as the data gives it: [b, s] row-major, or packed, in vectors that are reused.
struct TokenBatch {
  std::vector<int32_t> tokens, targets, positions;
  std::vector<float> loss_mask;  // 1 where the target counts, else 0
  // Of a BERT: which text a token is of [b, s]; whether the texts were exchanged, and where that counts [b].
  std::vector<int32_t> types, order;
  std::vector<float> order_mask;
  std::vector<Span> spans;       // runs of tokens that see each other
  int64_t first_sample = 0;      // number of the first sequence within the step's global batch
  // Packed: with the head of a task in place of targets and orders; number of the first token within the step's global batch,
  // and the longest span of all of that.
  TaskTargets task;
  int64_t first_token = 0, max_length = 0;
};

struct LearningRate {
  double all = 0;
  double classifier = 0;  // of the layers behind a BERT's encoder and pooler, with the head of a task
  LearningRate(double rate) : all(rate), classifier(rate) {}  // NOLINT: most often there is one
  LearningRate(double all_units, double of_classifier) : all(all_units), classifier(of_classifier) {}
};

struct StepResult {
  double loss = 0;           // mean over the step's unmasked targets; of a BERT plus the mean over its orders
  double gradient_norm = 0;  // before clipping; of an evaluation 0
  StageLoss parts;           // what the loss is the sum of
  int64_t tokens = 0;        // of all ranks' batches that have a target; padding left out
  double loss_scale = 0;     // of this step; 0: the loss is not scaled
  bool skipped = false;      // in fp16 something overflowed on some rank: no rank changed its weights
};

class Engine : private PipelineWork {
 public:
  // With a grid, which must outlive the engine, this is one of its ranks, and every call is collective.
  // `queue`: of the device, where that is not the one that make_queue() gives.
  explicit Engine(const EngineConfig& config, const ProcessGrid* grid = nullptr, std::unique_ptr<DeviceQueue> queue = nullptr);
  ~Engine() override;

  // Steps count from 1. `batches`: those of this data-parallel rank. The result is that of all ranks. Throws
  // Error naming the step and the layer or parameter when a loss or gradient is NaN or infinite; the weights
  // are then those of the step before. In fp16 such a step is skipped, and the loss scale adapts.
  StepResult train_step(int64_t step, LearningRate rate, std::span<const TokenBatch> batches);
  // Mean losses without dropout or gradients. Every data-parallel rank must bring as many batches.
  StepResult evaluate(std::span<const TokenBatch> batches);
  // What the head of a task computes of each batch (models/stage_model.h, TaskHeadWorkspace): `take(i, logits)` is called on the
  // ranks that have the head, in order, with logits in the host's memory. Every data-parallel rank must bring as many batches.
  using TakeLogits = std::function<void(size_t batch, const Tensor& logits)>;
  void predict(std::span<const TokenBatch> batches, const TakeLogits& take);

  void initialize();
  // After the weights that this rank owns were changed by hand (loaded): the copies, and other ranks'.
  void weights_changed();
  // Returns when this rank's weights are whole again after a step, without waiting for their first use.
  void settle();

  const EngineConfig& config() const { return config_; }
  const EnginePlan& plan() const { return plan_; }
  const ProcessGrid* grid() const { return grid_; }
  GridCoordinates at() const { return grid_ ? grid_->at() : GridCoordinates{}; }
  // One for each virtual stage.
  size_t num_chunks() const { return chunks_.size(); }
  StageModel& model(size_t chunk = 0) { return *chunks_[chunk]->model; }
  Optimizer& optimizer(size_t chunk = 0) { return chunks_[chunk]->optimizer; }
  const Optimizer& optimizer(size_t chunk = 0) const { return chunks_[chunk]->optimizer; }
  // Is the whole model here, so that text can be generated with it?
  bool holds_whole_model() const;
  // Updates of the weights: steps less those skipped.
  int64_t steps_done() const { return chunks_[0]->optimizer.steps_done(); }
  void set_steps_done(int64_t steps);  // before weights_changed(): rounding may depend on it
  LossScaler& loss_scaler() { return scaler_; }
  const LossScaler& loss_scaler() const { return scaler_; }
  const Context& context() const { return context_; }
  // What this rank holds, by purpose: exactly what was allocated.
  std::vector<MemoryUse> memory() const { return plan_memory(config_, at()); }
  // Where the optimizer and the places of messages are recorded; may be null.
  void set_trace(Trace* trace) { trace_ = trace; }
  // Called in a step when gradients are there and what the optimizer owns is about to change; may be null.
  void set_before_update(std::function<void()> call) { before_update_ = std::move(call); }
  // When each action of the last train_step() ran on this rank.
  const std::vector<ActionSpan>& spans() const { return spans_; }

 private:
  struct Chunk {
    std::unique_ptr<StageModel> model;
    DataParallel data;
    Optimizer optimizer;
    std::vector<StashPlace> stashes;
    std::vector<DeferredPlace> deferred;
    WorkspacePlace workspace;
    std::vector<int> stash_of, deferred_of;  // by micro-batch; -1: none
    std::vector<int> free_stashes, free_deferred;
  };
  // What compute() needs to know of the step at work.
  struct Step {
    std::span<const TokenBatch> batches;
    int64_t number = 0;
    bool training = false;
    double weight = 0, order_weight = 0;  // of a target, and of an order, in the loss
    int64_t tokens = 0;                   // of all ranks
    StageLoss loss;                       // of this rank so far
    const TakeLogits* take = nullptr;     // of a prediction
  };

  void compute(const Action& action, const Tensor& input, const Tensor& output) override;
  void forward(Chunk& chunk, const Action& action, const Tensor& input, const Tensor& output);
  void backward(Chunk& chunk, const Action& action, const Tensor& input, const Tensor& output);
  void backward_weight(Chunk& chunk, const Action& action);
  void take_message(const Tensor& message, const Tensor& rows) const;
  void give_message(const Tensor& rows, const Tensor& message) const;
  const TokenBatch& batch_of(const Action& action) const { return step_.batches[static_cast<size_t>(action.micro_batch)]; }
  int64_t residual_rows(const TokenBatch& batch) const { return tensor_.residual_rows(static_cast<int64_t>(batch.tokens.size())); }
  StageWorkspace& workspace_for(Chunk& chunk, const TokenBatch& batch);
  MicroBatch stage(const TokenBatch& batch);
  Step begin(std::span<const TokenBatch> batches) const;
  void run(std::span<const Action> list, std::vector<ActionSpan>* spans);
  void use_queue();
  void sum_tied_gradients();
  StepResult sum_up() const;
  void sum_over_world(std::span<double> values) const;
  std::string remedy() const;
  [[noreturn]] void fail_not_finite(const Chunk& chunk, const StageStash& stash, double loss) const;

  EngineConfig config_;
  const ProcessGrid* grid_;
  std::unique_ptr<DeviceQueue> queue_;  // none on a CPU
  Buffer operands_;                     // of products in FP8
  EnginePlan plan_;
  LossScaler scaler_;
  Context context_;
  TensorParallel tensor_;
  std::unique_ptr<Arena> activations_, workspace_arena_, message_arena_;
  PipelineBuffers messages_;
  Tensor gradient_, output_;    // [r, h]
  StagedBatch staged_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<float> weights_, order_weights_;  // [n], [b] of the micro-batch at work
  BertTargets task_;                            // of the micro-batch at work
  Step step_;
  std::vector<ActionSpan> spans_;
  Trace* trace_ = nullptr;
  std::function<void()> before_update_;
};

}  // namespace triax
