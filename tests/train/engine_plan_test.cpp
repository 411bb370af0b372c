// What the plan of a rank says, against the published formulas and against what is allocated.
#include "triax/train/engine_plan.h"

#include <gtest/gtest.h>

#include <numeric>

#include "triax/base/error.h"
#include "triax/train/engine.h"

namespace triax {
namespace {

EngineConfig gpt(int t, int p, int d) {
  EngineConfig config;
  config.model = {.vocab_size = 51200, .hidden_size = 4096, .num_layers = 36, .num_heads = 32, .max_positions = 2048};
  config.sequence_length = 2048;
  config.micro_batch_size = 1;
  config.max_micro_batches = 8;
  config.recompute = Recompute::full;
  config.parallel.grid = {t, p, d, "tp-dp-pp"};
  return config;
}

double state_bytes(const EngineConfig& config, const GridCoordinates& at = {}) {
  double bytes = 0;
  for (const MemoryUse& use : plan_memory(config, at))
    if (use.purpose.starts_with("weights") || use.purpose.starts_with("gradients (") || use.purpose.starts_with("optimizer"))
      bytes += static_cast<double>(use.bytes);
  return bytes;
}

// Rajbhandari et al. 2019, section 5, with 64 ranks; here gradients are kept in f32 as in Smith et al. 2022:
// 2 + 4 bytes of weights and gradients and K = 12 of optimizer state. (Padding is some parts in ten thousand.)
TEST(PlanMemory, ZeroStagesAreThePublishedFormulas) {
  EngineConfig config = gpt(1, 1, 64);
  config.precision = Precision::bf16;
  const auto psi = static_cast<double>(config.model.num_parameters());
  const double d = 64, weights = 2, gradients = 4, optimizer = 12;
  const double formulas[] = {psi * (weights + gradients + optimizer), psi * (weights + gradients + optimizer / d),
                             psi * (weights + (gradients + optimizer) / d), psi * (weights + gradients + optimizer) / d};
  for (int stage = 0; stage <= 3; ++stage) {
    config.parallel.zero_stage = stage;
    EXPECT_NEAR(state_bytes(config), formulas[stage], 1e-3 * formulas[stage]) << "stage " << stage;
  }
}

TEST(PlanMemory, Fp32HasNoCopies) {
  EngineConfig config = gpt(1, 1, 8);
  const auto psi = static_cast<double>(config.model.num_parameters());
  const double formulas[] = {16 * psi, (8 + 8.0 / 8) * psi, (4 + 12.0 / 8) * psi, 16.0 / 8 * psi};
  for (int stage = 0; stage <= 3; ++stage) {
    config.parallel.zero_stage = stage;
    EXPECT_NEAR(state_bytes(config), formulas[stage], 1e-3 * formulas[stage]) << "stage " << stage;
  }
}

TEST(PlanMemory, TheRanksOfAGridHoldTheModelOnceAndTheTiedTableTwice) {
  const EngineConfig config = gpt(4, 3, 1);
  double total = 0;
  for (int rank = 0; rank < config.parallel.grid.ranks(); ++rank)
    total += state_bytes(config, coordinates_of(config.parallel.grid, rank));
  const double table = 51200.0 * 4096;
  const double replicated = 3 * (2048.0 * 4096 + 36 * 6.0 * 4096 + 2 * 4096);  // on the three further tensor ranks
  const double expected = 16 * (static_cast<double>(config.model.num_parameters()) + table + replicated);
  EXPECT_NEAR(total, expected, 2e-4 * expected);
}

// The heads are on every tensor rank of the last stage whole, but for the decoder.
TEST(PlanMemory, ABertsRanksHoldTheModelOnceAndWhatIsNotSplitOnEachOfThem) {
  for (const bool post_norm : {false, true}) {
    EngineConfig config = gpt(4, 3, 1);
    config.model.kind = ModelKind::bert;
    config.model.post_norm = post_norm;
    double total = 0;
    for (int rank = 0; rank < config.parallel.grid.ranks(); ++rank)
      total += state_bytes(config, coordinates_of(config.parallel.grid, rank));
    const double h = 4096, table = 51200.0 * h, heads = 2 * h * h + 7 * h;
    const double replicated = 3 * (2050.0 * h + 36 * 6.0 * h + 2 * h + heads);
    const double expected = 16 * (static_cast<double>(config.model.num_parameters()) + table + replicated);
    EXPECT_NEAR(total, expected, 2e-4 * expected);
  }
}

// What only predicts has weights and what one layer works in, however many there are.
TEST(PlanMemory, PredictionKeepsNothingForABackward) {
  EngineConfig config;
  config.model = {.kind = ModelKind::bert, .vocab_size = 40, .hidden_size = 32, .num_layers = 4, .num_heads = 2, .max_positions = 16, .post_norm = true};
  config.head = {.head = BertHead::tokens, .num_labels = 3};
  config.sequence_length = 16, config.packed_tokens = 48, config.micro_batch_size = 24;
  config.precision = Precision::bf16;
  const auto bytes_of = [&](const std::string& purpose) {
    for (const MemoryUse& use : plan_memory(config, {}))
      if (use.purpose == purpose) return use.bytes;
    return size_t{0};
  };
  const size_t weights = bytes_of("weights (bf16)"), trained = bytes_of("activations");
  EXPECT_GT(bytes_of("gradients (f32)"), 0u);
  config.training = false;
  std::vector<std::string> purposes;
  for (const MemoryUse& use : plan_memory(config, {})) purposes.push_back(use.purpose);
  EXPECT_EQ(purposes, (std::vector<std::string>{"weights (bf16)", "weights (f32 master)", "activations", "workspace, logits"}));
  EXPECT_EQ(bytes_of("weights (bf16)"), weights);
  const size_t activations = bytes_of("activations");
  EXPECT_LT(activations, trained / 2);
  Engine engine(config);
  EXPECT_THROW(engine.train_step(1, 1e-3, {}), Error);
  config.model.num_layers = 8;
  EXPECT_EQ(bytes_of("activations"), activations);
  // On a grid too: no gradients come back from the next stage, and one micro-batch is in flight.
  config.parallel.grid = {1, 2, 2, "tp-dp-pp"};
  config.parallel.zero_stage = 2;
  config.max_micro_batches = 4;
  EXPECT_EQ(bytes_of("gathered weights, gradients"), 0u);
  EXPECT_EQ(bytes_of("messages between stages"), 2 * 48 * 32 * sizeof(uint16_t));
  EXPECT_EQ(plan_engine(config, {}).chunks[0].stashes, 1);
}

// Activations in flight: 1F1B at most p, GPipe m (Narayanan et al. 2021, section 2.2.1).
TEST(PlanEngine, InFlightIsBoundedAsPublished) {
  EngineConfig config = gpt(1, 4, 1);
  for (int rank = 0; rank < 4; ++rank) {
    config.parallel.schedule = ScheduleKind::one_f_one_b;
    EXPECT_EQ(plan_engine(config, {0, rank, 0}).chunks[0].stashes, 4 - rank);
    config.parallel.schedule = ScheduleKind::gpipe;
    EXPECT_EQ(plan_engine(config, {0, rank, 0}).chunks[0].stashes, 8);
  }
}

TEST(PlanEngine, LayersAddUpAndTheHeadCounts) {
  for (const auto& [p, v] : {std::pair{2, 1}, {4, 1}, {2, 2}, {4, 3}, {8, 1}}) {
    EngineConfig config = gpt(1, p, 1);
    config.parallel.virtual_pipeline = v;
    const EnginePlan plan = plan_engine(config, {0, 0, 0});
    EXPECT_EQ(plan.stage_layers.size(), static_cast<size_t>(p * v));
    EXPECT_EQ(std::accumulate(plan.stage_layers.begin(), plan.stage_layers.end(), int64_t{0}), 36);
    EXPECT_LE(plan.stage_layers.back(), plan.stage_layers.front());
  }
}

std::string message_of(const EngineConfig& config) {
  try {
    validate(config);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing";
}

TEST(PlanEngine, RefusesWhatDoesNotFitAndSaysWhatWould) {
  const auto refused = [](auto&& change, const std::string& part) {
    EngineConfig config = gpt(2, 2, 1);
    change(config);
    EXPECT_NE(message_of(config).find(part), std::string::npos) << message_of(config);
  };
  EXPECT_EQ(message_of(gpt(2, 2, 1)), "nothing");
  refused([](EngineConfig& c) { c.model.num_heads = 32, c.parallel.grid.tensor_parallel = 3; }, "num_heads");
  refused([](EngineConfig& c) { c.parallel.virtual_pipeline = 2, c.max_micro_batches = 7; }, "8 would do");
  refused([](EngineConfig& c) { c.parallel.stage_layers = {20, 20}; }, "adds up to 40");
  refused([](EngineConfig& c) { c.parallel.schedule = ScheduleKind::zb_h1; }, "selective");
  refused([](EngineConfig& c) { c.parallel.grid.pipeline_parallel = 1, c.parallel.virtual_pipeline = 2; }, "pipeline_parallel > 1");
}

TEST(PlanEngine, ScheduleWhoseStepsInterlockIsPlannedButNotTrained) {
  EngineConfig config = gpt(2, 2, 1);
  config.recompute = Recompute::none;
  config.parallel.schedule = ScheduleKind::zb_h2;
  EXPECT_EQ(message_of(config), "nothing");
  EXPECT_GT(plan_engine(config, {}).chunks[0].stashes, 2);
  try {
    const Engine engine(config);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("train with \"zb_h1\""), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace triax
