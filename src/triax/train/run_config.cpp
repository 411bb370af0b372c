#include "triax/train/run_config.h"

#include <algorithm>

#include "triax/base/error.h"

namespace triax {
namespace {

void check_multiple(const char* key, int64_t value, int64_t micro_batch) {
  if (value % micro_batch == 0) return;
  const int64_t above = (value / micro_batch + 1) * micro_batch;
  fail("{} = {} is not a multiple of train.micro_batch_size = {}; the nearest are {} and {}", key, value,
       micro_batch, std::max(above - micro_batch, micro_batch), above);
}

}  // namespace

void RunConfig::resolve() {
  if (train.sequence_length == 0) train.sequence_length = model.max_positions;
  if (optimizer.decay_steps == 0) optimizer.decay_steps = train.steps;
  check(train.sequence_length <= model.max_positions,
        "train.sequence_length = {} is longer than model.max_positions = {}; raise the one or lower "
        "the other",
        train.sequence_length, model.max_positions);
  check_multiple("train.global_batch_size", train.global_batch_size, train.micro_batch_size);
  if (train.batch_ramp_start > 0) {
    check_multiple("train.batch_ramp_start", train.batch_ramp_start, train.micro_batch_size);
    check(train.batch_ramp_increment > 0 && train.batch_ramp_samples > 0,
          "a batch-size ramp needs train.batch_ramp_increment and train.batch_ramp_samples");
    check_multiple("train.batch_ramp_increment", train.batch_ramp_increment, train.micro_batch_size);
    check(train.batch_ramp_start <= train.global_batch_size &&
              (train.global_batch_size - train.batch_ramp_start) % train.batch_ramp_increment == 0,
          "the batch-size ramp cannot go from train.batch_ramp_start = {} to train.global_batch_size = {} in "
          "steps of train.batch_ramp_increment = {}",
          train.batch_ramp_start, train.global_batch_size, train.batch_ramp_increment);
  }
  check(optimizer.min_learning_rate <= optimizer.learning_rate,
        "optimizer.min_learning_rate = {} is above optimizer.learning_rate = {}",
        optimizer.min_learning_rate, optimizer.learning_rate);
  check(data.weights.empty() || data.weights.size() == data.train.size(),
        "data.weights has {} numbers for {} datasets in data.train; give one for each, or none",
        data.weights.size(), data.train.size());
}

EngineConfig RunConfig::engine() const {
  return {.model = model,
          .sequence_length = train.sequence_length,
          .micro_batch_size = train.micro_batch_size,
          .precision = train.precision,
          .recompute = train.recompute,
          .optimizer = {.beta1 = optimizer.beta1,
                        .beta2 = optimizer.beta2,
                        .epsilon = optimizer.epsilon,
                        .weight_decay = optimizer.weight_decay},
          .clip_gradient = optimizer.clip_gradient,
          .seed = static_cast<uint64_t>(train.seed)};
}

LrSchedule RunConfig::lr_schedule() const {
  return {.decay = optimizer.decay,
          .peak = optimizer.learning_rate,
          .minimum = optimizer.min_learning_rate,
          .warmup_steps = optimizer.warmup_steps,
          .decay_steps = optimizer.decay_steps,
          .wsd_fraction = optimizer.wsd_fraction};
}

int64_t RunConfig::batch_size_at(int64_t consumed_samples) const {
  if (train.batch_ramp_start <= 0) return train.global_batch_size;
  const int64_t increments =
      (train.global_batch_size - train.batch_ramp_start) / train.batch_ramp_increment;
  if (increments == 0 || consumed_samples >= train.batch_ramp_samples) return train.global_batch_size;
  const int64_t samples_each = std::max<int64_t>(1, train.batch_ramp_samples / increments);
  return std::min(train.global_batch_size,
                  train.batch_ramp_start + consumed_samples / samples_each * train.batch_ramp_increment);
}

}  // namespace triax
