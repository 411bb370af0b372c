// The grid does not change the answer: 30 steps of a GPT and of a BERT in both arrangements, with dropout, on many
// grids, against one rank.
// A sample of all grids of this many ranks, another one every day; TRIAX_ALL_GRIDS=1 takes all of them
// (./test.sh --grids).
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <map>

#include "parallel/ranks.h"
#include "triax/base/rng.h"
#include "triax/train/engine.h"

namespace triax {
namespace {

using test::world;

constexpr int64_t kGlobalBatch = 16, kSteps = 30;

enum class Tested { gpt, bert, post_norm_bert };
constexpr std::array kTested = {Tested::gpt, Tested::bert, Tested::post_norm_bert};

EngineConfig small_model(Tested tested, int64_t micro_batch_size) {
  EngineConfig config;
  config.model = {.kind = tested == Tested::gpt ? ModelKind::gpt : ModelKind::bert, .vocab_size = 61, .hidden_size = 32,
                  .num_layers = 4, .num_heads = 4, .max_positions = 16, .hidden_dropout = 0.1, .attention_dropout = 0.1,
                  .vocab_multiple = 16, .post_norm = tested == Tested::post_norm_bert};
  config.sequence_length = 16;
  config.micro_batch_size = micro_batch_size;
  config.seed = 7;
  return config;
}

// Two texts of a BERT with padding behind, each counting up, the second from the first one's end unless they were
// exchanged; some tokens are replaced by 60.
void append_texts(uint64_t number, int64_t length, TokenBatch& batch) {
  Philox random(number + 1);
  const size_t begin = batch.tokens.size();
  const auto filled = length - static_cast<int64_t>(random.next_below(5)), second = filled / 2;
  const auto exchanged = static_cast<int32_t>(random.next_below(2));
  auto token = static_cast<int32_t>(random.next_below(30));
  for (int64_t i = 0; i < length; ++i) {
    if (i == second && exchanged) token = (token + 47) % 60;
    const bool masked = i > 0 && i < filled && (i == 1 || random.next_below(5) == 0);
    batch.tokens.push_back(i >= filled ? 59 : masked ? 60 : token);
    batch.targets.push_back(masked ? token : 0);
    batch.types.push_back(i >= second && i < filled ? 1 : 0);
    batch.positions.push_back(static_cast<int32_t>(i));
    batch.loss_mask.push_back(masked ? 1.0f : 0.0f);
    token = (token + 1) % 60;
  }
  batch.order.push_back(exchanged);
  batch.order_mask.push_back(1);
  batch.spans.push_back({static_cast<int64_t>(begin), filled});
}

// Sequence `number` of the training order: each token is most often the one before plus one.
void append_sequence(uint64_t number, int64_t length, TokenBatch& batch) {
  Philox random(number + 1);
  auto token = static_cast<int32_t>(random.next_below(61));
  batch.spans.push_back({static_cast<int64_t>(batch.tokens.size()), length});
  for (int64_t i = 0; i < length; ++i) {
    batch.tokens.push_back(token);
    token = static_cast<int32_t>(random.next_below(8) == 0 ? random.next_below(61) : static_cast<uint64_t>(token + 1) % 61);
    batch.targets.push_back(token);
    batch.positions.push_back(static_cast<int32_t>(i));
    batch.loss_mask.push_back(random.next_below(10) == 0 ? 0.0f : 1.0f);
  }
}

std::vector<TokenBatch> batches_of(const EngineConfig& config, int64_t step, int replica, int replicas) {
  std::vector<TokenBatch> batches;
  for (int64_t first = replica * config.micro_batch_size; first < kGlobalBatch; first += replicas * config.micro_batch_size) {
    TokenBatch& batch = batches.emplace_back();
    batch.first_sample = first;
    for (int64_t i = 0; i < config.micro_batch_size; ++i)
      (config.model.is_bert() ? append_texts : append_sequence)(static_cast<uint64_t>(step * kGlobalBatch + first + i),
                                                                config.sequence_length, batch);
  }
  return batches;
}

// Puts infinity into a weight that this rank reads, until Engine::weights_changed().
void break_weight(Engine& engine) {
  const Parameters& parameters = engine.model().parameters();
  engine.settle();
  *parameters.copy(parameters.owned()[0]).data<f16>() = f16(INFINITY);
}

// The losses of the steps, then that of an evaluation.
std::vector<double> losses_of(EngineConfig config, const GridShape& shape) {
  std::unique_ptr<ProcessGrid> grid;
  if (shape.ranks() > 1) grid = std::make_unique<ProcessGrid>(world(), shape);
  config.parallel.grid = shape;
  config.max_micro_batches = kGlobalBatch / config.micro_batch_size / shape.data_parallel;
  Engine engine(config, grid.get());
  engine.initialize();
  std::vector<double> losses;
  for (int64_t step = 1; step <= kSteps; ++step)
    losses.push_back(engine.train_step(step, 3e-3, batches_of(config, step, engine.at().data, shape.data_parallel)).loss);
  losses.push_back(engine.evaluate(batches_of(config, 1000, engine.at().data, shape.data_parallel)).loss);
  return losses;
}

const std::vector<double>& serial_losses(Tested tested) {
  static std::map<Tested, std::vector<double>> losses;
  if (losses[tested].empty()) losses[tested] = losses_of(small_model(tested, 2), {});
  return losses[tested];
}

std::string describe(const EngineConfig& config, const GridShape& shape) {
  const ParallelConfig& p = config.parallel;
  return fmt::format("{} t {} p {} d {} v {} {} micro {} recompute {} but {} SP {} ZeRO {} scatter {} overlap {}",
                     !config.model.is_bert() ? "GPT" : config.model.post_norm ? "post-norm BERT" : "BERT", shape.tensor_parallel,
                     shape.pipeline_parallel, shape.data_parallel, p.virtual_pipeline,
                     name_of(p.schedule), config.micro_batch_size, static_cast<int>(config.recompute), config.keep_micro_batches,
                     p.sequence_parallel, p.zero_stage, p.scatter_gather, p.overlap);
}

struct Case {
  EngineConfig config;
  GridShape shape;
};

// Every combination that makes sense for so many ranks.
std::vector<Case> all_cases(Tested tested, int ranks) {
  std::vector<Case> cases;
  for (const int t : {1, 2, 4})
    for (const int p : {1, 2, 4})
      for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved_1f1b, ScheduleKind::zb_h1})
        for (const int v : {1, 2})
          for (const int zero : {0, 1, 2, 3})
            for (const Recompute recompute : {Recompute::none, Recompute::selective, Recompute::full})
              for (const bool sp : {false, true})
                for (const int64_t micro : {1, 2}) {
                  if (ranks % (t * p) != 0 || ranks / (t * p) > 4) continue;
                  const GridShape shape{t, p, ranks / (t * p), "tp-dp-pp"};
                  const bool useful = (t > 1 || !sp) && (shape.data_parallel > 1 || zero == 0) &&
                                      (p > 1 || kind == ScheduleKind::gpipe || kind == ScheduleKind::one_f_one_b);
                  const bool possible = kGlobalBatch % (micro * shape.data_parallel) == 0 && (v == 1) == (kind != ScheduleKind::interleaved_1f1b) && p * v - 1 <= 4 &&
                                        (kind != ScheduleKind::zb_h1 || recompute != Recompute::full);
                  if (!useful || !possible) continue;
                  EngineConfig config = small_model(tested, micro);
                  config.recompute = recompute;
                  config.keep_micro_batches = cases.size() % 2;
                  config.parallel.schedule = kind;
                  config.parallel.virtual_pipeline = v;
                  config.parallel.zero_stage = zero;
                  config.parallel.sequence_parallel = sp;
                  config.parallel.scatter_gather = (cases.size() % 3) != 0;
                  config.parallel.overlap = (cases.size() % 5) != 0;
                  cases.push_back({config, shape});
                }
  return cases;
}

void expect_same_answer(const Case& tested, const std::vector<double>& expected) {
  const std::vector<double> losses = losses_of(tested.config, tested.shape);
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::fabs(losses[i] - expected[i]) <= 1e-4 * expected[i]) continue;
    ADD_FAILURE() << describe(tested.config, tested.shape) << ": step " << i + 1 << " has loss " << losses[i]
                  << ", one rank has " << expected[i];
    return;
  }
}

TEST(SameAnswer, OnEveryGrid) {
  auto day = std::chrono::duration_cast<std::chrono::hours>(std::chrono::system_clock::now().time_since_epoch()).count() / 24;
  world().communicator().broadcast({&day, {1}, DType::i64}, 0);  // midnight may be between two ranks
  Philox random(static_cast<uint64_t>(day));
  const char* all = std::getenv("TRIAX_ALL_GRIDS");
  for (const Tested model : kTested) {
    std::vector<Case> cases = all_cases(model, world().size());
    if (!all || *all == '0') {
      for (size_t i = 0; i + 1 < cases.size(); ++i) std::swap(cases[i], cases[i + random.next_below(cases.size() - i)]);
      cases.resize(std::min<size_t>(cases.size(), world().size() > 4 ? 2 : 4));
    }
    EXPECT_LT(serial_losses(model)[kSteps - 1], 0.95 * serial_losses(model)[0]) << "something is learned";
    for (const Case& tested : cases) expect_same_answer(tested, serial_losses(model));
    if (world().rank() == 0) fmt::print("{} grids of {} ranks\n", cases.size(), world().size());
  }
}

// 14 steps in fp16, of which the first few overflow because the scale begins too high, and step 10 because of
// one rank: none of the ranks takes part in them. NaN where a step was skipped.
std::vector<double> losses_in_fp16(EngineConfig config, const GridShape& shape) {
  std::unique_ptr<ProcessGrid> grid;
  if (shape.ranks() > 1) grid = std::make_unique<ProcessGrid>(world(), shape);
  config.precision = Precision::fp16;
  config.loss_scaling = {.initial = 0x1p26, .window = 4};
  config.parallel.grid = shape;
  config.max_micro_batches = kGlobalBatch / config.micro_batch_size / shape.data_parallel;
  Engine engine(config, grid.get());
  engine.initialize();
  std::vector<double> losses;
  for (int64_t step = 1; step <= 14; ++step) {
    if (step == 10 && (!grid || world().rank() == shape.ranks() - 1)) break_weight(engine);
    const StepResult result = engine.train_step(step, 3e-3, batches_of(config, step, engine.at().data, shape.data_parallel));
    losses.push_back(result.skipped ? NAN : result.loss);
    if (step != 10) continue;
    EXPECT_TRUE(result.skipped);
    engine.weights_changed();
  }
  EXPECT_EQ(engine.steps_done(), 14 - engine.loss_scaler().state().skipped_steps);
  losses.push_back(engine.loss_scaler().scale());
  return losses;
}

TEST(SameAnswer, InFp16WithSkippedSteps) {
  const std::vector<double> expected = losses_in_fp16(small_model(Tested::gpt, 1), {});
  EXPECT_TRUE(std::isnan(expected[0]));   // the first scale is too high
  EXPECT_FALSE(std::isnan(expected[8]));
  std::vector<GridShape> shapes = {{2, 2, 2, "tp-dp-pp"}};
  if (world().size() == 2) shapes = {{2, 1, 1, "tp-dp-pp"}, {1, 2, 1, "tp-dp-pp"}, {1, 1, 2, "tp-dp-pp"}};
  if (world().size() == 4) shapes = {{2, 2, 1, "tp-dp-pp"}, {1, 2, 2, "tp-dp-pp"}};
  for (const GridShape& shape : shapes) {
    EngineConfig config = small_model(Tested::gpt, 1);
    config.parallel.sequence_parallel = true;
    config.parallel.zero_stage = shape.tensor_parallel == 1 ? 3 : 2;
    config.parallel.virtual_pipeline = shape.pipeline_parallel;
    const std::vector<double> losses = losses_in_fp16(config, shape);
    for (size_t i = 0; i < losses.size(); ++i) {
      if (std::isnan(expected[i]) && std::isnan(losses[i])) continue;
      EXPECT_NEAR(losses[i], expected[i], 2e-3 * expected[i]) << describe(config, shape) << ": step " << i + 1;
    }
  }
}

TEST(SameAnswer, OverlapDoesNotChangeABit) {
  const int ranks = world().size();
  for (const int zero : {0, 1, 2, 3}) {
    Case tested{small_model(Tested::gpt, 1), {1, 1, ranks, "tp-dp-pp"}};
    if (kGlobalBatch % ranks != 0) return;
    tested.config.parallel.zero_stage = zero;
    tested.config.parallel.overlap = true;
    const std::vector<double> with = losses_of(tested.config, tested.shape);
    tested.config.parallel.overlap = false;
    EXPECT_EQ(with, losses_of(tested.config, tested.shape)) << "ZeRO " << zero;
  }
}

}  // namespace
}  // namespace triax
