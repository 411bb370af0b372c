// The grid does not change the answer of tuning either: steps and predictions of every head on packed examples of all
// lengths, with dropout, on many grids, against one rank.
// A sample of all grids of this many ranks, another one every day; TRIAX_ALL_GRIDS=1 takes all of them.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <map>

#include "parallel/ranks.h"
#include "triax/base/rng.h"
#include "triax/finetune/batches.h"
#include "triax/finetune/predict.h"

namespace triax::finetune {
namespace {

using test::world;

constexpr int64_t kBatch = 12, kSteps = 6, kLongest = 14;
enum class Tuned { tokens, sequence, choice, spans, regression };
constexpr std::array kTuned = {Tuned::tokens, Tuned::sequence, Tuned::choice, Tuned::spans, Tuned::regression};
constexpr std::array kNames = {"tokens", "sequence", "choice", "spans", "regression"};

// Layers of a task's head: two before some, one before others.
BertHeadConfig head_of(Tuned tuned) {
  switch (tuned) {
    case Tuned::tokens: return {.head = BertHead::tokens, .num_labels = 3, .dropout = 0.2};
    case Tuned::sequence: return {.head = BertHead::sequence, .num_labels = 3, .hidden_size = 8, .dropout = 0.2};
    case Tuned::choice: return {.head = BertHead::choice, .dropout = 0.2};
    case Tuned::spans: return {.head = BertHead::spans, .dropout = 0.2};
    default: return {.head = BertHead::sequence, .num_labels = 1, .dropout = 0.2};
  }
}

// Texts with something to be learned: labels are a function of the first tokens.
std::vector<Example> examples_of(Tuned tuned, int64_t groups) {
  Philox random(5);
  std::vector<Example> examples;
  const int64_t size = tuned == Tuned::choice ? 2 : 1;
  for (int64_t i = 0; i < groups * size; ++i) {
    Example& e = examples.emplace_back();
    const uint64_t length = 3 + random.next_below(kLongest - 2);
    for (uint64_t k = 0; k < length; ++k) e.ids.push_back(static_cast<int32_t>(random.next_below(40)));
    e.types.assign(length, 0);
    e.types.back() = 1;
    const int32_t what = e.ids[1] % 3;
    if (tuned == Tuned::tokens)
      for (const int32_t id : e.ids) e.labels.push_back(id % 4 - 1);
    else e.labels = {tuned == Tuned::choice ? what % 2 : what};
    e.value = static_cast<float>(what) - 1;
    e.start = what % 2, e.end = e.start + static_cast<int32_t>(random.next_below(length - 1));
    e.group = i % size == 0 ? size : 0;
  }
  return examples;
}

EngineConfig small_bert(Tuned tuned, bool post_norm) {
  EngineConfig config;
  config.model = {.kind = ModelKind::bert, .vocab_size = 41, .hidden_size = 32, .num_layers = 4, .num_heads = 4, .max_positions = 16,
                  .hidden_dropout = 0.1, .attention_dropout = 0.1, .vocab_multiple = 1, .post_norm = post_norm};
  config.head = head_of(tuned);
  config.optimizer.epsilon = 1e-5;  // gradients that are zero but for rounding, such as of a bias under a softmax, move nothing
  config.seed = 7;
  return config;
}

struct Answer {
  std::vector<double> losses;
  std::vector<Logits> before, after;  // of the texts, by the model as it begins and as it is tuned
};

Answer answer_of(EngineConfig config, Tuned tuned, const GridShape& shape, int64_t micro_batch_tokens) {
  std::unique_ptr<ProcessGrid> grid;
  if (shape.ranks() > 1) grid = std::make_unique<ProcessGrid>(world(), shape);
  config.parallel.grid = shape;
  const std::vector<Example> examples = examples_of(tuned, kBatch * 2);
  const std::span<const Example> predicted = examples;
  size_engine({kBatch, micro_batch_tokens}, examples, {&predicted, 1}, config);
  Engine engine(config, grid.get());
  engine.initialize();
  Answer answer;
  answer.before = predict_all(engine, examples, micro_batch_tokens);
  const std::vector<float> weights = {1.0f, 0.5f, 2.0f};
  std::vector<size_t> firsts = first_of_groups(examples);
  for (int64_t step = 1; step <= kSteps; ++step) {
    Philox random(3, static_cast<uint64_t>(step));
    for (size_t i = firsts.size(); i > 1; --i) std::swap(firsts[i - 1], firsts[random.next_below(i)]);
    const auto batches = pack_step(engine.config(), engine.at().data, examples, {firsts.data(), static_cast<size_t>(kBatch)}, weights, micro_batch_tokens);
    const StepResult result = engine.train_step(step, {2e-3, 5e-3}, batches);
    answer.losses.push_back(result.skipped ? NAN : result.loss);
  }
  answer.after = predict_all(engine, examples, micro_batch_tokens);
  return answer;
}

const Answer& answer_of_one_rank(Tuned tuned, bool post_norm, Precision precision = Precision::fp32) {
  static std::map<std::tuple<Tuned, bool, Precision>, Answer> answers;
  Answer& answer = answers[{tuned, post_norm, precision}];
  if (answer.losses.empty()) {
    EngineConfig config = small_bert(tuned, post_norm);
    config.precision = precision;
    config.loss_scaling.initial = 1024;
    answer = answer_of(config, tuned, {}, 48);
  }
  return answer;
}

struct TuningCase {
  Tuned tuned;
  EngineConfig config;
  GridShape shape;
  int64_t micro_batch_tokens;
};

std::string describe(const TuningCase& c) {
  const ParallelConfig& p = c.config.parallel;
  return fmt::format("{}{} t {} p {} d {} v {} {} micro {} recompute {} SP {} ZeRO {} scatter {}", kNames[static_cast<size_t>(c.tuned)],
                     c.config.model.post_norm ? " post-norm" : "", c.shape.tensor_parallel, c.shape.pipeline_parallel, c.shape.data_parallel,
                     p.virtual_pipeline, name_of(p.schedule), c.micro_batch_tokens, static_cast<int>(c.config.recompute), p.sequence_parallel,
                     p.zero_stage, p.scatter_gather);
}

// Every combination that makes sense for so many ranks; heads, arrangements and what else there is take turns.
std::vector<TuningCase> all_cases(int ranks) {
  std::vector<TuningCase> cases;
  size_t turn = 0;
  for (const int t : {1, 2, 4})
    for (const int p : {1, 2, 4})
      for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved_1f1b, ScheduleKind::zb_h1})
        for (const int zero : {0, 1, 2, 3})
          for (const bool sp : {false, true})
            for (const Tuned tuned : kTuned) {
              const int v = kind == ScheduleKind::interleaved_1f1b ? 2 : 1;
              if (ranks % (t * p) != 0 || ranks / (t * p) > 4 || p * v > 4) continue;
              const GridShape shape{t, p, ranks / (t * p), "tp-dp-pp"};
              const bool useful = (t > 1 || !sp) && (shape.data_parallel > 1 || zero == 0) && (p > 1 || kind == ScheduleKind::gpipe);
              if (!useful) continue;
              ++turn;
              EngineConfig config = small_bert(tuned, turn % 2 == 0);
              config.recompute = static_cast<Recompute>(turn / 2 % (kind == ScheduleKind::zb_h1 ? 2 : 3));
              config.keep_micro_batches = static_cast<int64_t>(turn / 3 % 2);
              config.parallel = {.grid = {}, .schedule = kind, .virtual_pipeline = v, .stage_layers = {}, .sequence_parallel = sp, .zero_stage = zero,
                                 .scatter_gather = turn % 3 != 0, .overlap = turn % 5 != 0};
              cases.push_back({tuned, config, shape, turn % 4 == 0 ? 16 : 40});
            }
  return cases;
}

double largest_difference(const std::vector<Logits>& a, const std::vector<Logits>& b) {
  if (a.size() != b.size()) return INFINITY;
  double difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size()) return INFINITY;
    for (size_t j = 0; j < a[i].size(); ++j) difference = std::max(difference, static_cast<double>(std::fabs(a[i][j] - b[i][j])));
  }
  return difference;
}

void expect_same_answer(const TuningCase& c, double tolerance, double tolerance_after) {
  const Answer& expected = answer_of_one_rank(c.tuned, c.config.model.post_norm, c.config.precision);
  const Answer answer = answer_of(c.config, c.tuned, c.shape, c.micro_batch_tokens);
  for (size_t i = 0; i < expected.losses.size(); ++i)
    EXPECT_NEAR(answer.losses[i], expected.losses[i], tolerance * expected.losses[i]) << describe(c) << ": step " << i + 1;
  EXPECT_LT(largest_difference(answer.before, expected.before), tolerance) << describe(c);
  EXPECT_LT(largest_difference(answer.after, expected.after), tolerance_after) << describe(c);
}

TEST(TunedHeads, HaveTheSameAnswerOnEveryGrid) {
  auto day = std::chrono::duration_cast<std::chrono::hours>(std::chrono::system_clock::now().time_since_epoch()).count() / 24;
  world().communicator().broadcast({&day, {1}, DType::i64}, 0);  // midnight may be between two ranks
  Philox random(static_cast<uint64_t>(day));
  const char* all = std::getenv("TRIAX_ALL_GRIDS");
  std::vector<TuningCase> cases = all_cases(world().size());
  if (!all || *all == '0') {
    for (size_t i = 0; i + 1 < cases.size(); ++i) std::swap(cases[i], cases[i + random.next_below(cases.size() - i)]);
    cases.resize(std::min<size_t>(cases.size(), world().size() > 2 ? 4 : 8));
  }
  for (const TuningCase& c : cases) expect_same_answer(c, 1e-4, 2e-4);
  for (const Tuned tuned : kTuned) {
    const Answer& one = answer_of_one_rank(tuned, true);
    EXPECT_GT(largest_difference(one.before, one.after), 0.03) << "something is learned: " << kNames[static_cast<size_t>(tuned)];
  }
  if (world().rank() == 0) fmt::print("{} grids of {} ranks\n", cases.size(), world().size());
}

TEST(TunedHeads, HaveTheSameAnswerInFp16) {
  for (const TuningCase& c : all_cases(world().size())) {
    const bool chosen = c.config.parallel.zero_stage == (c.shape.data_parallel > 1 ? 2 : 0) && c.config.parallel.sequence_parallel == (c.shape.tensor_parallel > 1) &&
                        c.config.parallel.schedule == (c.shape.pipeline_parallel > 1 ? ScheduleKind::one_f_one_b : ScheduleKind::gpipe);
    if (!chosen || c.tuned != (c.shape.pipeline_parallel > 1 ? Tuned::tokens : Tuned::sequence)) continue;
    TuningCase half = c;
    half.config.precision = Precision::fp16;
    half.config.loss_scaling.initial = 1024;
    expect_same_answer(half, 5e-3, 0.1);
  }
}

}  // namespace
}  // namespace triax::finetune
