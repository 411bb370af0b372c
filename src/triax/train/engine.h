// The engine: a model, its optimizer and the memory they work in. One call is one optimizer step over the
// micro-batches it is given; it knows nothing of files, logs or schedules of the learning rate.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "triax/models/gpt.h"
#include "triax/optim/optimizer.h"

namespace triax {

enum class Precision { fp32, bf16 };

struct EngineConfig {
  GptConfig model;
  int64_t sequence_length = 1024;
  int64_t micro_batch_size = 4;
  Precision precision = Precision::fp32;
  Recompute recompute = Recompute::none;
  AdamWConfig optimizer;
  double clip_gradient = 1.0;  // 0: no clipping
  uint64_t seed = 1234;
};

// One micro-batch as the data gives it: [b, s] row-major, in vectors that are reused.
struct TokenBatch {
  std::vector<int32_t> tokens, targets, positions;
  std::vector<float> loss_mask;  // 1 where the target counts, else 0
  std::vector<Span> spans;       // runs of tokens that see each other
  int64_t first_sample = 0;      // number of the first sequence within the step's global batch
};

struct StepResult {
  double loss = 0;           // mean over the step's unmasked targets
  double gradient_norm = 0;  // before clipping
};

class Engine {
 public:
  explicit Engine(const EngineConfig& config);

  // Steps count from 1. Throws Error naming the step and the layer or parameter when a loss or gradient
  // is NaN or infinite; the weights are then those of the step before.
  StepResult train_step(int64_t step, double learning_rate, std::span<const TokenBatch> batches);
  // Mean loss without dropout or gradients.
  double evaluate(std::span<const TokenBatch> batches);

  void initialize() { model_.parameters().initialize(context_, config_.seed); }
  const EngineConfig& config() const { return config_; }
  Gpt& model() { return model_; }
  Optimizer& optimizer() { return optimizer_; }
  const Context& context() const { return context_; }
  // What this rank holds, by purpose: exactly what was allocated.
  std::vector<MemoryUse> memory() const;

 private:
  double forward(const TokenBatch& batch, int64_t step, bool training, double weight);
  MicroBatch stage(const TokenBatch& batch, int64_t step, bool training, double weight);
  [[noreturn]] void fail_not_finite(int64_t step, double loss) const;

  EngineConfig config_;
  Context context_;
  Gpt model_;
  Optimizer optimizer_;
  std::vector<float> weights_;  // [n] of the micro-batch at work
  std::unique_ptr<Arena> activations_, workspace_arena_;
  GptStash stash_;
  GptWorkspace workspace_;
};

}  // namespace triax
