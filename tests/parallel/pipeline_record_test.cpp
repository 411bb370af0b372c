// A step of a pipeline as its ranks see it, from the engine to the file that the report draws.
#include "triax/train/pipeline_record.h"

#include <gtest/gtest.h>

#include "parallel/ranks.h"
#include "triax/base/file.h"
#include "triax/train/engine.h"

namespace triax {
namespace {

using test::world;

EngineConfig small_gpt(int micro_batches) {
  EngineConfig config;
  config.model = {.vocab_size = 61, .hidden_size = 64, .num_layers = 8, .num_heads = 8, .max_positions = 16, .vocab_multiple = 16};
  config.sequence_length = 16;
  config.micro_batch_size = 1;
  config.max_micro_batches = micro_batches;
  config.parallel.schedule = ScheduleKind::one_f_one_b;
  return config;
}

TokenBatch some_batch(int64_t n) {
  TokenBatch batch;
  for (int32_t i = 0; i < n; ++i) {
    batch.tokens.push_back(i);
    batch.targets.push_back(i + 1);
    batch.positions.push_back(i);
    batch.loss_mask.push_back(1);
  }
  batch.spans = {{0, n}};
  return batch;
}

TEST(PipelineRecordOfRanks, IsGatheredAndTraced) {
  const int p = world().size(), m = 2 * p;
  ProcessGrid grid(world(), {1, p, 1});
  Trace trace;
  trace.record_steps(1, 1);
  grid.meter(&trace);
  Engine engine(small_gpt(m), &grid);
  engine.initialize();
  const std::vector<TokenBatch> batches(static_cast<size_t>(m), some_batch(16));
  trace.begin_step(1);
  engine.train_step(1, 1e-3, batches);
  add_computations(trace, engine.spans());
  trace.stop();

  PipelineRank mine{.rank = world().rank(), .spans = pipeline_spans(engine.spans()), .predicted_bytes = 1000,
                    .measured_bytes = 900, .communication = {{"pipeline", 7, 0.1, 0.3}}};
  PipelineRecord record{.schedule = ScheduleKind::one_f_one_b, .shape = {p, 1, m}, .step = 1, .step_seconds = 1,
                        .ranks = gather_pipeline(grid.pipeline(), mine)};
  ASSERT_EQ(record.ranks.size(), static_cast<size_t>(p));
  EXPECT_EQ(record.ranks[static_cast<size_t>(world().rank())], mine);
  for (int rank = 0; rank < p; ++rank) EXPECT_EQ(record.ranks[static_cast<size_t>(rank)].rank, rank);
  mine.spans.resize(1);
  EXPECT_NEAR(gather_pipeline(grid.pipeline(), mine, 2.5)[0].spans[0].start, record.ranks[0].spans[0].start + 2.5, 1e-6);

  // A micro-batch goes forward on a rank after it has on the one before.
  for (size_t rank = 1; rank < record.ranks.size(); ++rank)
    for (const PipelineSpan& span : record.ranks[rank].spans)
      for (const PipelineSpan& before : record.ranks[rank - 1].spans)
        if (span.kind == ActionKind::forward && before.kind == ActionKind::forward && span.micro_batch == before.micro_batch) {
          EXPECT_GE(span.start, before.end);
        }
  const PipelineIdle idle = idle_of(record);
  EXPECT_GT(idle.bubble, 0);
  EXPECT_LT(idle.bubble, 1);
  EXPECT_NEAR(idle.published, (p - 1.0) / (m + p - 1), 1e-9);

  int forwards = 0, backwards = 0, sends = 0;
  for (const TraceSpan& span : trace.spans()) {
    forwards += span.category == TraceCategory::forward;
    backwards += span.category == TraceCategory::backward;
    sends += span.category == TraceCategory::send;
  }
  EXPECT_EQ(forwards, m);
  EXPECT_EQ(backwards, m);
  EXPECT_EQ(sends, m * ((world().rank() > 0) + (world().rank() + 1 < p)));
}

}  // namespace
}  // namespace triax
