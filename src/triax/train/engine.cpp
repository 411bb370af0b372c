#include "triax/train/engine.h"

#include <algorithm>
#include <cmath>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"

namespace triax {
namespace {

// Tensors are views without const; what is only read may come from const memory.
Tensor read_only(const std::vector<int32_t>& values) {
  return {const_cast<int32_t*>(values.data()), {static_cast<int64_t>(values.size())}, DType::i32};
}

double num_targets(std::span<const TokenBatch> batches) {
  double count = 0;
  for (const TokenBatch& batch : batches)
    for (const float mask : batch.loss_mask) count += static_cast<double>(mask);
  return count;
}

}  // namespace

Engine::Engine(const EngineConfig& config)
    : config_(config),
      model_(config.model, {.first_layer = 0, .num_layers = config.model.num_layers}, {},
             config.recompute, config.precision == Precision::bf16 ? DType::bf16 : DType::f32, true),
      optimizer_(model_.parameters(), config.optimizer) {
  check(config.sequence_length <= config.model.max_positions,
        "train.sequence_length = {} is longer than model.max_positions = {}; raise the one or lower "
        "the other",
        config.sequence_length, config.model.max_positions);
  const int64_t n = config.sequence_length * config.micro_batch_size;
  Arena measured;
  model_.allocate_stash(n, measured);
  activations_ = std::make_unique<Arena>("activations", measured.peak());
  stash_ = model_.allocate_stash(n, *activations_);
  Arena measured_workspace;
  model_.allocate_workspace(n, true, measured_workspace);
  workspace_arena_ = std::make_unique<Arena>("workspace", measured_workspace.peak());
  workspace_ = model_.allocate_workspace(n, true, *workspace_arena_);
  weights_.resize(static_cast<size_t>(n));
}

MicroBatch Engine::stage(const TokenBatch& batch, int64_t step, bool training, double weight) {
  for (size_t i = 0; i < weights_.size(); ++i)
    weights_[i] = static_cast<float>(weight) * batch.loss_mask[i];
  MicroBatch micro;
  micro.tokens = read_only(batch.tokens);
  micro.targets = read_only(batch.targets);
  micro.positions = read_only(batch.positions);
  micro.weights = {weights_.data(), {static_cast<int64_t>(weights_.size())}, DType::f32};
  micro.layout = {.spans = batch.spans,
                  .max_length = config_.sequence_length,
                  .first_token = batch.first_sample * config_.sequence_length,
                  .seed = config_.seed,
                  .step = static_cast<uint32_t>(step),
                  .training = training};
  return micro;
}

StepResult Engine::train_step(int64_t step, double learning_rate,
                              std::span<const TokenBatch> batches) {
  const double count = num_targets(batches);
  check(count > 0, "step {}: no token of the batch has a target that counts", step);
  fill(context_, model_.parameters().flat_gradient(), 0.0f);
  StepResult result;
  for (const TokenBatch& batch : batches) {
    const MicroBatch micro = stage(batch, step, true, 1 / count);
    const double loss = model_.forward(context_, micro, {}, 1.0f, true, stash_, workspace_);
    if (!std::isfinite(loss)) fail_not_finite(step, loss);
    result.loss += loss;
    model_.backward(context_, micro, stash_, workspace_);
  }
  const GradientNorm norm = gradient_norm(context_, model_.parameters());
  check(norm.not_finite.empty(),
        "step {}: the gradient of {} is NaN or infinite (the loss was {:.4f}). Lower "
        "optimizer.learning_rate, or resume from the last checkpoint with another train.seed",
        step, norm.not_finite, result.loss);
  result.gradient_norm = norm.norm;
  const bool clips = config_.clip_gradient > 0 && norm.norm > config_.clip_gradient;
  optimizer_.step(context_, learning_rate, clips ? config_.clip_gradient / norm.norm : 1.0);
  return result;
}

double Engine::evaluate(std::span<const TokenBatch> batches) {
  const double count = num_targets(batches);
  double loss = 0;
  for (const TokenBatch& batch : batches) {
    const MicroBatch micro = stage(batch, 0, false, 1 / count);
    loss += model_.forward(context_, micro, {}, 1.0f, false, stash_, workspace_);
  }
  return loss;
}

void Engine::fail_not_finite(int64_t step, double loss) const {
  std::string where = "the head";
  for (size_t i = 0; i < stash_.inputs.size(); ++i) {
    if (std::isfinite(sum_of_squares(context_, stash_.inputs[i]))) continue;
    where = i == 0 ? "the embedding" : "layer " + std::to_string(i - 1);
    break;
  }
  fail("step {}: the loss is {}; the first NaN or infinity is in the output of {}. Lower "
       "optimizer.learning_rate, or resume from the last checkpoint with another train.seed",
       step, loss, where);
}

std::vector<MemoryUse> Engine::memory() const {
  std::vector<MemoryUse> rows = model_.parameters().memory();
  rows.push_back({"optimizer (Adam m, v)", optimizer_.bytes()});
  rows.push_back({"activations", activations_->capacity()});
  rows.push_back({"workspace, logits", workspace_arena_->capacity()});
  return rows;
}

}  // namespace triax
