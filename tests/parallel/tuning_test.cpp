// Tuning shared by ranks: every step is that of one rank, masks of dropout too.
#include "triax/finetune/tuner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "parallel/ranks.h"
#include "triax/base/config.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/rng.h"
#include "triax/finetune/model_folder.h"
#include "triax/finetune/predict.h"
#include "triax/models/hf_bert.h"
#include "triax/train/state.h"

namespace triax::finetune {
namespace {

namespace fs = std::filesystem;
using test::world;

// Records of 3 to 12 letters in a folder of rank 0; those with an "a" are "yes".
void write_task(const fs::path& folder) {
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (const char* letter : {"a", "b", "c", "d", "e"}) vocabulary += std::string(letter) + "\n";
  fs::create_directories(folder / "bert");
  write_file_atomic(folder / "bert/vocab.txt", vocabulary);
  Bert bert({.kind = ModelKind::bert, .vocab_size = 10, .hidden_size = 16, .num_layers = 2, .num_heads = 2, .ffn_hidden_size = 32, .max_positions = 20, .init_std = 0.1, .post_norm = true});
  bert.parameters().initialize({}, 1);
  write_hf_bert(folder / "bert", bert, {});
  Philox random(1);
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    std::string text;
    for (uint64_t n = 3 + random.next_below(10); n > 0; --n) text += std::string(1, static_cast<char>('a' + random.next_below(5))) + " ";
    lines += Json{{"text", text}, {"label", text.find('a') == std::string::npos ? "no" : "yes"}}.dump() + "\n";
  }
  write_file_atomic(folder / "data.jsonl", lines);
}

FinetuneConfig config(const fs::path& folder, const char* name) {
  FinetuneConfig c;
  c.model.path = (folder / "bert").string();
  c.data.train = c.data.dev = c.data.test = (folder / "data.jsonl").string();
  c.data.max_length = 16;
  c.train = {.epochs = 3, .batch_size = 8, .micro_batch_tokens = 32, .learning_rate = 3e-3};
  c.output.dir = (folder / name).string();
  return c;
}

// A folder of rank 0 that all see.
class SharedFolder {
 public:
  SharedFolder() {
    if (world().rank() == 0) owned_ = std::make_unique<TemporaryDirectory>("shared-tuning");
    std::string path = owned_ ? owned_->path().string() : "";
    path.resize(4096);
    world().communicator().broadcast({path.data(), {4096}, DType::u8}, 0);
    path_ = path.c_str();
    if (world().rank() == 0) write_task(path_);
    world().communicator().barrier();
  }
  ~SharedFolder() { world().communicator().barrier(); }
  const fs::path& path() const { return path_; }

 private:
  std::unique_ptr<TemporaryDirectory> owned_;
  fs::path path_;
};

// Of 2, 3, 4 and 8 ranks; what is left is data parallel.
std::vector<GridConfig> some_grids() {
  GridConfig data, tensor, pipeline;
  data.zero_stage = 3;
  if (world().size() % 2 != 0) return {data};
  tensor.tensor_parallel = 2, tensor.sequence_parallel = true, tensor.zero_stage = 1;
  pipeline.pipeline_parallel = 2, pipeline.schedule = ScheduleKind::zb_h1;
  if (world().size() > 2) pipeline.tensor_parallel = 2;
  return {data, tensor, pipeline};
}

void expect_same_curve(const TuningResult& result, const TuningResult& expected) {
  ASSERT_EQ(result.seeds[0].epochs.size(), expected.seeds[0].epochs.size());
  for (size_t i = 0; i < expected.seeds[0].epochs.size(); ++i) {
    EXPECT_NEAR(result.seeds[0].epochs[i].loss, expected.seeds[0].epochs[i].loss, 1e-4);
    EXPECT_EQ(result.seeds[0].epochs[i].dev, expected.seeds[0].epochs[i].dev);
  }
  EXPECT_EQ(result.seeds[0].test.value, expected.seeds[0].test.value);
}

// The tuned folder holds the same numbers but for rounding.
void expect_same_model(const fs::path& best, const fs::path& expected) {
  const TunedModel a = load_tuned_model(best), b = load_tuned_model(expected);
  const ParameterTable& table = b.engine->model().parameters().table();
  for (int i = 0; i < static_cast<int>(table.specs().size()); ++i) {
    const auto x = a.engine->model().parameters().master(i).span<float>(), y = b.engine->model().parameters().master(i).span<float>();
    double sum = 0;  // a few elements have gradients that are rounding alone, from which Adam makes steps of any sign
    for (size_t j = 0; j < y.size(); ++j) sum += std::fabs(x[j] - y[j]);
    EXPECT_LT(sum / static_cast<double>(y.size()), 1e-3) << table[i].name;
  }
}

TEST(SharedTuning, HasTheCurveOfOneRank) {
  const SharedFolder folder;
  std::optional<TuningResult> alone;
  if (world().rank() == 0) alone = run_tuning(TaskKind::classify, config(folder.path(), "alone"));
  int number = 0;
  for (const GridConfig& grid : some_grids()) {
    const std::string name = fmt::format("grid {}", ++number);
    FinetuneConfig shared = config(folder.path(), name.c_str());
    shared.parallel = grid;
    const TuningResult result = run_tuning(TaskKind::classify, shared, {}, &world());
    if (world().rank() > 0) continue;
    expect_same_curve(result, *alone);
    expect_same_model(folder.path() / name / "seed-1/best", folder.path() / "alone/seed-1/best");
    EXPECT_TRUE(fs::exists(folder.path() / name / "report.html"));
  }
}

// What is tuned answers alike on every grid, by an engine that has no gradients.
TEST(SharedTuning, PredictsOnEveryGrid) {
  const SharedFolder folder;
  if (world().rank() == 0) run_tuning(TaskKind::classify, config(folder.path(), "alone"));
  world().communicator().barrier();
  const fs::path best = folder.path() / "alone/seed-1/best";
  const TunedModel alone = load_tuned_model(best);
  const auto set = alone.task->read(folder.path() / "data.jsonl", true);
  const std::vector<Logits> expected = predict_all(*alone.engine, set->examples, 32);
  for (GridConfig parallel : some_grids()) {
    parallel.fit(world().size());
    const ProcessGrid grid(world(), parallel.engine().grid);
    const TunedModel shared = load_tuned_model(best, {.tokens = 32}, &grid);
    const std::vector<Logits> logits = predict_all(*shared.engine, set->examples, 32);
    for (size_t i = 0; i < expected.size(); ++i)
      for (size_t j = 0; j < expected[i].size(); ++j) EXPECT_NEAR(logits[i][j], expected[i][j], 1e-5) << parallel.describe();
  }
}

// A pretrained BERT of `triax train`, written by all ranks.
void write_pretrained(const fs::path& root) {
  RunConfig run;
  run.model = {.kind = ModelKind::bert, .vocab_size = 10, .hidden_size = 16, .num_layers = 2, .num_heads = 2, .ffn_hidden_size = 32, .max_positions = 20, .init_std = 0.1};
  run.train.sequence_length = 16;
  run.parallel = some_grids().back();
  run.parallel.fit(world().size());
  run.train.global_batch_size = run.samples_at_a_time();
  const EngineConfig engine = run.engine();
  const ProcessGrid ranks(world(), engine.parallel.grid);
  Engine pretrained(engine, &ranks);
  pretrained.initialize();
  TrainState state;
  state.config = ConfigFields(run).print();
  state.tokenizer = (root.parent_path() / "bert").string();
  const CheckpointTarget target{.root = root, .step = 1, .rank = world().rank(), .num_ranks = world().size()};
  if (world().rank() == 0) prepare_checkpoint(target);
  world().communicator().barrier();
  write_checkpoint_pieces(target, checkpoint_pieces(pretrained, true));
  world().communicator().barrier();
  if (world().rank() == 0) publish_checkpoint(target, to_json(state));
  world().communicator().barrier();
}

TEST(SharedTuning, StartsFromACheckpointOfAnyGrid) {
  const SharedFolder folder;
  write_pretrained(folder.path() / "checkpoints");
  FinetuneConfig tuned = config(folder.path(), "tuned");
  tuned.model.path = (folder.path() / "checkpoints").string();
  tuned.parallel = some_grids()[some_grids().size() / 2];
  const TuningResult result = run_tuning(TaskKind::classify, tuned, {}, &world());
  if (world().rank() > 0) return;
  FinetuneConfig alone = tuned;
  alone.parallel = {};
  alone.output.dir = (folder.path() / "alone").string();
  expect_same_curve(result, run_tuning(TaskKind::classify, alone));
}

// Each epoch on another grid, the first one on one rank alone.
TEST(SharedTuning, GoesOnOnAnotherGrid) {
  const SharedFolder folder;
  FinetuneConfig pieces = config(folder.path(), "pieces");
  const auto stop_after = [](int64_t last) { return [last](int64_t epoch) { check(epoch != last, "interrupted"); }; };
  if (world().rank() == 0) {
    EXPECT_THROW(run_tuning(TaskKind::classify, pieces, stop_after(1)), Error);
  }
  world().communicator().barrier();
  const std::vector<GridConfig> grids = some_grids();
  pieces.parallel = grids.back();
  EXPECT_THROW(run_tuning(TaskKind::classify, pieces, stop_after(2), &world()), Error);
  pieces.parallel = grids[grids.size() / 2];
  const TuningResult result = run_tuning(TaskKind::classify, pieces, {}, &world());
  if (world().rank() == 0) expect_same_curve(result, run_tuning(TaskKind::classify, config(folder.path(), "alone")));
}

}  // namespace
}  // namespace triax::finetune
