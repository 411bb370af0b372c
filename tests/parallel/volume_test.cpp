// What a step on a grid sends, counted, against the published formulas.
#include <gtest/gtest.h>

#include <algorithm>

#include "parallel/ranks.h"
#include "triax/train/engine.h"
#include "triax/train/expected_volume.h"

namespace triax {
namespace {

using test::world;

constexpr int kMicroBatches = 4;

EngineConfig small_gpt() {
  EngineConfig config;
  config.model = {.vocab_size = 61, .hidden_size = 64, .num_layers = 8, .num_heads = 8, .max_positions = 16,
                  .hidden_dropout = 0.1, .attention_dropout = 0.1, .vocab_multiple = 16};
  config.sequence_length = 16;
  config.micro_batch_size = 2;
  config.max_micro_batches = kMicroBatches;
  return config;
}

TokenBatch some_batch(const EngineConfig& config) {
  TokenBatch batch;
  for (int64_t i = 0; i < config.micro_batch_tokens(); ++i) {
    batch.tokens.push_back(static_cast<int32_t>(i % 61));
    batch.targets.push_back(static_cast<int32_t>((i + 1) % 61));
    batch.positions.push_back(static_cast<int32_t>(i % config.sequence_length));
    batch.loss_mask.push_back(1);
  }
  for (int64_t i = 0; i < config.micro_batch_size; ++i) batch.spans.push_back({i * config.sequence_length, config.sequence_length});
  if (!config.model.is_bert()) return batch;
  for (size_t i = 0; i < batch.tokens.size(); ++i) batch.loss_mask[i] = i % 20 < 3 ? 1.0f : 0.0f;
  batch.types.assign(batch.tokens.size(), 0);
  batch.order.assign(batch.spans.size(), 0);
  batch.order_mask.assign(batch.spans.size(), 1.0f);
  return batch;
}

// 20 tokens a sequence, so that the published share of them is a whole number.
EngineConfig small_bert(bool post_norm) {
  EngineConfig config = small_gpt();
  config.model.kind = ModelKind::bert;
  config.model.post_norm = post_norm;
  config.model.max_positions = config.sequence_length = 20;
  return config;
}

struct Counted {
  std::vector<VolumeRow> rows;       // measured and formula
  double replicated = 0;             // bytes of norms' and biases' gradients, sent once a step
  double flat = 0, parameters = 0;   // elements of all chunks, with and without gaps
  const VolumeRow& of(const std::string& group) const {
    static const VolumeRow none;
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const VolumeRow& r) { return r.group == group; });
    return row == rows.end() ? none : *row;
  }
};

Counted count_step(EngineConfig config, const GridShape& shape) {
  ProcessGrid grid(world(), shape);
  grid.meter();
  config.parallel.grid = shape;
  Engine engine(config, &grid);
  engine.initialize();
  const std::vector<TokenBatch> batches(kMicroBatches, some_batch(config));
  engine.settle();
  for (MeteredCommunicator* meter : grid.meters()) meter->reset_volume();
  engine.train_step(1, 1e-3, batches);
  engine.settle();
  Counted counted{.rows = volume_rows(grid, expected_volume(engine.config(), grid.at(), kMicroBatches))};
  const double t = shape.tensor_parallel;
  for (size_t c = 0; c < engine.num_chunks(); ++c) {
    const ParameterTable& table = engine.model(c).parameters().table();
    counted.flat += static_cast<double>(table.flat_size());
    counted.parameters += static_cast<double>(table.num_parameters());
    for (const ParameterUnit& unit : table.units())
      if (!unit.sees_all_tokens) counted.replicated += 2 * (t - 1) / t * 4 * static_cast<double>(unit.replicated_end - unit.replicated_begin);
  }
  return counted;
}

TEST(Volume, TensorParallelIsThePublishedOne) {
  const int t = world().size();
  if (t == 3) return;  // does not divide the heads
  for (EngineConfig config : {small_gpt(), small_bert(false), small_bert(true)})
    for (const Recompute recompute : {Recompute::none, Recompute::selective, Recompute::full})
      for (const bool sequence_parallel : {false, true}) {
        if (config.model.is_bert() && recompute == Recompute::full) continue;  // the layers of a GPT
        config.recompute = recompute;
        config.parallel.sequence_parallel = sequence_parallel;
        const Counted counted = count_step(config, {t, 1, 1});
        const VolumeRow& row = counted.of("tensor");
        EXPECT_NEAR(row.bytes, row.formula_bytes + (sequence_parallel ? counted.replicated : 0), 1e-6 * row.bytes)
            << "BERT " << config.model.is_bert() << ", SP " << sequence_parallel << ", recompute " << static_cast<int>(recompute);
        EXPECT_GT(row.bytes, 0);
        EXPECT_EQ(counted.rows.size(), 1u) << "nothing else is sent";
      }
}

TEST(Volume, PipelineIsThePublishedOne) {
  const int p = world().size();
  for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved_1f1b,
                                  ScheduleKind::zb_h1}) {
    EngineConfig config = small_gpt();
    config.parallel.schedule = kind;
    const bool interleaves = kind == ScheduleKind::interleaved_1f1b && kMicroBatches % p == 0;
    config.parallel.virtual_pipeline = interleaves ? 2 : 1;
    const Counted counted = count_step(config, {1, p, 1});
    EXPECT_GT(counted.of("pipeline").bytes, 0);
    EXPECT_DOUBLE_EQ(counted.of("pipeline").bytes, counted.of("pipeline").formula_bytes) << name_of(kind);
    EXPECT_DOUBLE_EQ(counted.of("embedding").bytes, counted.of("embedding").formula_bytes);
  }
}

TEST(Volume, ScatterGatherMovesItToTheTensorGroup) {
  const int n = world().size();
  if (n % 4 != 0) return;
  for (const bool scatter : {false, true}) {
    EngineConfig config = small_gpt();
    config.parallel.schedule = ScheduleKind::one_f_one_b;
    config.parallel.scatter_gather = scatter;
    const Counted counted = count_step(config, {2, 2, n / 4});
    for (const char* group : {"tensor", "pipeline", "embedding"})
      EXPECT_NEAR(counted.of(group).bytes, counted.of(group).formula_bytes, 1e-6 * counted.of(group).bytes) << group << ' ' << scatter;
  }
}

TEST(Volume, DataParallelIsThePublishedOne) {
  const int d = world().size();
  const double others = (d - 1.0) / d;
  for (const int stage : {0, 1, 2, 3}) {
    EngineConfig config = small_gpt();
    config.parallel.zero_stage = stage;
    const Counted counted = count_step(config, {1, 1, d});
    const VolumeRow& row = counted.of("data");
    const double counts = 2 * others * 3 * 8;  // how many targets of each kind there are
    const double gaps = counted.flat / counted.parameters;
    EXPECT_LT(gaps, 1.05);
    if (stage < 2) {
      EXPECT_NEAR(row.bytes, gaps * row.formula_bytes + counts, 1e-6 * row.bytes) << stage;
    } else if (stage == 2) {  // head and embedding each reduce the table that they share
      EXPECT_NEAR(row.bytes, gaps * row.formula_bytes + counts + kMicroBatches * others * 4 * 64 * 64, 0.01 * row.bytes);
    } else {  // layers at the turn from forward to backward are still there
      EXPECT_LT(row.bytes, 1.05 * row.formula_bytes);
      EXPECT_GT(row.bytes, 0.75 * row.formula_bytes);
    }
  }
}

}  // namespace
}  // namespace triax
