// Grids whose ranks compute on a device other than the CPU: what they exchange is staged in the host's memory.
#include <gtest/gtest.h>

#include "kernels/cuda_on_host/queue.h"
#include "parallel/ranks.h"
#include "triax/train/engine.h"

namespace triax {
namespace {

using test::world;

TokenBatch batch_of_device(const EngineConfig& config, int64_t first) {
  TokenBatch batch;
  for (int64_t i = 0; i < config.micro_batch_tokens(); ++i) {
    batch.tokens.push_back(static_cast<int32_t>((7 * i + first) % 61));
    batch.targets.push_back(static_cast<int32_t>((7 * i + first + 1) % 61));
    batch.positions.push_back(static_cast<int32_t>(i % config.sequence_length));
    batch.loss_mask.push_back(1);
  }
  if (config.model.is_bert()) {
    for (int64_t i = 0; i < config.micro_batch_tokens(); ++i) {
      batch.types.push_back(i % config.sequence_length > 6);
      batch.loss_mask[static_cast<size_t>(i)] = (i + first) % 6 == 1;
    }
    batch.order = {0, 1};
    batch.order_mask = {1, 1};
  }
  for (int64_t i = 0; i < config.micro_batch_size; ++i) batch.spans.push_back({i * config.sequence_length, config.sequence_length});
  batch.first_sample = first;
  return batch;
}

EngineConfig tiny_of_device(ModelKind kind) {
  EngineConfig config;
  config.model = {.vocab_size = 61, .hidden_size = 32, .num_layers = 2, .num_heads = 2, .max_positions = 16,
                  .hidden_dropout = 0.1, .attention_dropout = 0.1, .vocab_multiple = 16};
  config.model.kind = kind;
  config.sequence_length = 16, config.micro_batch_size = 2, config.max_micro_batches = 2;
  return config;
}

void compare_on_grids(ModelKind kind) {
  for (const GridShape& shape : {GridShape{2, 1, 1}, GridShape{1, 2, 1}, GridShape{1, 1, 2}}) {
    EngineConfig config = tiny_of_device(kind);
    config.parallel.sequence_parallel = shape.tensor_parallel > 1;
    config.parallel.zero_stage = shape.data_parallel > 1 ? 3 : 0;
    ProcessGrid grid(world(), shape);
    config.parallel.grid = shape;
    Engine expected(config, &grid);
    config.device.kind = Device::Kind::emulated;
    Engine engine(config, &grid, cuda_on_host::make_queue());
    expected.initialize(), engine.initialize();
    const int64_t mine = 4 * grid.at().data;
    const std::vector<TokenBatch> batches = {batch_of_device(config, mine), batch_of_device(config, mine + 2)};
    for (int64_t step = 1; step <= 2; ++step) {
      const StepResult want = expected.train_step(step, 1e-3, batches), got = engine.train_step(step, 1e-3, batches);
      EXPECT_NEAR(got.loss, want.loss, 4e-6 * want.loss) << grid.to_string();
      EXPECT_NEAR(got.gradient_norm, want.gradient_norm, 2e-5 * want.gradient_norm) << grid.to_string();
    }
  }
}

TEST(EmulatedDevice, TrainsOnGridsLikeTheCpu) {
  if (world().size() != 2) return;
  compare_on_grids(ModelKind::gpt);
  compare_on_grids(ModelKind::bert);
}

// Each rank scales its own part of a matrix, and adds up what was rounded to bf16: that is all that a grid changes.
TEST(EmulatedDevice, ComputesInFloat8AlikeOnTensorParallelRanks) {
  if (world().size() != 2) return;
  EngineConfig config = tiny_of_device(ModelKind::gpt);
  config.precision = Precision::fp8;
  config.device.kind = Device::Kind::emulated;
  Engine alone(config, nullptr, cuda_on_host::make_queue());
  ProcessGrid grid(world(), {2, 1, 1});
  config.parallel.sequence_parallel = true;
  Engine shared(config, &grid, cuda_on_host::make_queue());
  alone.initialize(), shared.initialize();
  const std::vector<TokenBatch> batches = {batch_of_device(config, 0), batch_of_device(config, 2)};
  for (int64_t step = 1; step <= 2; ++step) {
    const StepResult want = alone.train_step(step, 1e-3, batches), got = shared.train_step(step, 1e-3, batches);
    EXPECT_NEAR(got.loss, want.loss, 2e-4 * want.loss);
    EXPECT_NEAR(got.gradient_norm, want.gradient_norm, 4e-3 * want.gradient_norm);
  }
}

}  // namespace
}  // namespace triax
