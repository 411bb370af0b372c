#include "triax/train/speed.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "triax/base/rng.h"

namespace triax {
namespace {

// So many tokens, exactly: what is computed of them is counted.
void mask_some(TokenBatch& batch, int64_t sequences, Philox& random) {
  const auto n = batch.tokens.size();
  std::ranges::fill(batch.loss_mask, 0.0f);
  for (auto left = static_cast<int64_t>(std::lround(kMaskedShare * static_cast<double>(n))); left > 0;)
    if (float& mask = batch.loss_mask[random.next_below(n)]; mask == 0) mask = 1, --left;
  batch.types.assign(n, 0);
  batch.order.assign(static_cast<size_t>(sequences), 0);
  batch.order_mask.assign(static_cast<size_t>(sequences), 1.0f);
}

TokenBatch random_batch(const EngineConfig& config, uint64_t seed) {
  const int64_t b = config.micro_batch_size, s = config.sequence_length;
  const auto vocab_size = static_cast<uint64_t>(config.model.vocab_size);
  Philox random(seed);
  TokenBatch batch;
  for (int64_t i = 0; i < b * s; ++i) {
    batch.tokens.push_back(static_cast<int32_t>(random.next_below(vocab_size)));
    batch.targets.push_back(static_cast<int32_t>(random.next_below(vocab_size)));
    batch.positions.push_back(static_cast<int32_t>(i % s));
    batch.loss_mask.push_back(1);
  }
  if (config.model.is_bert()) mask_some(batch, b, random);
  for (int64_t i = 0; i < b; ++i) batch.spans.push_back({i * s, s});
  return batch;
}

// All ranks must go on for the same number of steps.
double of_the_slowest_rank(const Engine& engine, double seconds) {
  if (engine.grid()) engine.grid()->world().communicator().all_reduce({&seconds, {1}, DType::f64}, ReduceOp::max);
  return seconds;
}

}  // namespace

TrainingSpeed measure_training_speed(Engine& engine, int64_t micro_batches, double seconds, int64_t steps,
                                     const std::function<void()>& after_step) {
  using Clock = std::chrono::steady_clock;
  const EngineConfig& config = engine.config();
  std::vector<TokenBatch> batches;
  for (int64_t i = 0; i < micro_batches; ++i) {
    batches.push_back(random_batch(config, static_cast<uint64_t>(i)));
    batches.back().first_sample = i * config.micro_batch_size;
  }
  engine.train_step(1, 1e-4, batches);  // pages touched, primitives made
  TrainingSpeed speed{.best_step_seconds = 1e30};
  double total = 0;
  while (total < seconds || speed.steps < steps) {
    const auto begin = Clock::now();
    engine.train_step(++speed.steps + 1, 1e-4, batches);
    const double step = of_the_slowest_rank(engine, std::chrono::duration<double>(Clock::now() - begin).count());
    total += step;
    speed.best_step_seconds = std::min(speed.best_step_seconds, step);
    if (after_step) after_step();
  }
  speed.mean_step_seconds = total / static_cast<double>(speed.steps);
  const auto tokens = static_cast<double>(micro_batches * config.micro_batch_size * config.sequence_length *
                                          config.parallel.grid.data_parallel);
  speed.tokens_per_second = tokens / speed.mean_step_seconds;
  speed.model_flops_per_second =
      speed.tokens_per_second * config.model.needed_flops_per_token(config.sequence_length);
  return speed;
}

}  // namespace triax
