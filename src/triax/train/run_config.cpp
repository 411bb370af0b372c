#include "triax/train/run_config.h"

#include <algorithm>

#include "triax/base/error.h"

namespace triax {
namespace {

void check_multiple(const char* key, int64_t value, const RunConfig& config) {
  const int64_t unit = config.samples_at_a_time();
  if (value % unit == 0) return;
  const int64_t above = (value / unit + 1) * unit, below = above - unit;
  const std::string of = config.parallel.data_parallel > 1
                             ? fmt::format("train.micro_batch_size {} x data_parallel {} = {}", config.train.micro_batch_size,
                                           config.parallel.data_parallel, unit)
                             : fmt::format("train.micro_batch_size = {}", unit);
  fail("{} = {} is not a multiple of {}; {}", key, value, of,
       below > 0 ? fmt::format("the nearest are {} and {}", below, above) : fmt::format("the nearest is {}", above));
}

}  // namespace

void RunConfig::resolve(int ranks) {
  if (train.sequence_length == 0) train.sequence_length = model.max_positions;
  if (optimizer.decay_steps == 0) optimizer.decay_steps = train.steps;
  check(train.sequence_length <= model.max_positions,
        "train.sequence_length = {} is longer than model.max_positions = {}; raise the one or lower "
        "the other",
        train.sequence_length, model.max_positions);
  parallel.fit(ranks);
  check_multiple("train.global_batch_size", train.global_batch_size, *this);
  if (train.batch_ramp_start > 0) {
    check_multiple("train.batch_ramp_start", train.batch_ramp_start, *this);
    check(train.batch_ramp_increment > 0 && train.batch_ramp_samples > 0,
          "a batch-size ramp needs train.batch_ramp_increment and train.batch_ramp_samples");
    check_multiple("train.batch_ramp_increment", train.batch_ramp_increment, *this);
    check(train.batch_ramp_start <= train.global_batch_size &&
              (train.global_batch_size - train.batch_ramp_start) % train.batch_ramp_increment == 0,
          "the batch-size ramp cannot go from train.batch_ramp_start = {} to train.global_batch_size = {} in "
          "steps of train.batch_ramp_increment = {}",
          train.batch_ramp_start, train.global_batch_size, train.batch_ramp_increment);
  }
  for (const int64_t batch : global_batches())
    validate(parallel.schedule, engine().pipeline(batch / samples_at_a_time()));
  check(train.min_loss_scale <= train.initial_loss_scale,
        "train.min_loss_scale = {:g} is above train.initial_loss_scale = {:g}", train.min_loss_scale, train.initial_loss_scale);
  check(optimizer.min_learning_rate <= optimizer.learning_rate,
        "optimizer.min_learning_rate = {} is above optimizer.learning_rate = {}",
        optimizer.min_learning_rate, optimizer.learning_rate);
  check(data.weights.empty() || data.weights.size() == data.train.size(),
        "data.weights has {} numbers for {} datasets in data.train; give one for each, or none",
        data.weights.size(), data.train.size());
}

ParallelConfig GridConfig::engine() const {
  return {.grid = {static_cast<int>(tensor_parallel), static_cast<int>(pipeline_parallel), static_cast<int>(data_parallel), order},
          .schedule = schedule,
          .virtual_pipeline = static_cast<int>(virtual_pipeline),
          .stage_layers = stage_layers,
          .sequence_parallel = sequence_parallel,
          .zero_stage = static_cast<int>(zero_stage),
          .scatter_gather = scatter_gather,
          .overlap = overlap};
}

std::string GridConfig::describe() const {
  std::string text = fmt::format("grid of {} ranks: tensor {} x pipeline {} x data {}", tensor_parallel * pipeline_parallel * data_parallel,
                                 tensor_parallel, pipeline_parallel, data_parallel);
  if (pipeline_parallel > 1) text += fmt::format(", schedule {}", name_of(schedule));
  if (virtual_pipeline > 1) text += fmt::format(" with {} chunks a rank", virtual_pipeline);
  if (sequence_parallel && tensor_parallel > 1) text += ", sequence parallel";
  if (zero_stage > 0 && data_parallel > 1) text += fmt::format(", ZeRO {}", zero_stage);
  return text;
}

void GridConfig::fit(int ranks) {
  GridShape grid = engine().grid;
  if (ranks == 0) ranks = grid.tensor_parallel * grid.pipeline_parallel * std::max(1, grid.data_parallel);
  data_parallel = fit_grid(grid, ranks).data_parallel;
}

EngineConfig RunConfig::engine() const {
  return {.model = model,
          .sequence_length = train.sequence_length,
          .micro_batch_size = train.micro_batch_size,
          .max_micro_batches = train.global_batch_size / samples_at_a_time(),
          .precision = train.precision,
          .attention = train.attention,
          .recompute = train.recompute,
          .keep_micro_batches = train.keep_micro_batches,
          .optimizer = {.beta1 = optimizer.beta1,
                        .beta2 = optimizer.beta2,
                        .epsilon = optimizer.epsilon,
                        .weight_decay = optimizer.weight_decay,
                        .stochastic_rounding = optimizer.stochastic_rounding,
                        .seed = static_cast<uint64_t>(train.seed)},
          .clip_gradient = optimizer.clip_gradient,
          .loss_scaling = {.fixed = train.loss_scale,
                           .initial = train.initial_loss_scale,
                           .minimum = train.min_loss_scale,
                           .window = train.loss_scale_window,
                           .hysteresis = train.loss_scale_hysteresis},
          .seed = static_cast<uint64_t>(train.seed),
          .parallel = parallel.engine(),
          .device = {.kind = train.device, .index = 0}};
}

std::vector<int64_t> RunConfig::global_batches() const {
  std::vector<int64_t> batches;
  if (train.batch_ramp_start > 0)
    for (int64_t b = train.batch_ramp_start; b < train.global_batch_size; b += train.batch_ramp_increment)
      batches.push_back(b);
  batches.push_back(train.global_batch_size);
  return batches;
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
