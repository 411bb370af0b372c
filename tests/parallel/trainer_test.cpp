// Whole runs on a grid: what one grid saves another continues, and the curve is that of one rank.
#include "triax/train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "parallel/ranks.h"
#include "train/tiny_run.h"
#include "triax/base/file.h"

namespace triax {
namespace {

namespace fs = std::filesystem;
using test::world;

// One folder for all ranks.
class GridTrainer : public testing::TestWithParam<ModelKind> {
 protected:
  void SetUp() override {
    if (world().rank() == 0) folder_ = std::make_unique<TemporaryDirectory>("grid-trainer");
    std::string path = folder_ ? folder_->path().string() : "";
    path.resize(4096);
    world().communicator().broadcast({path.data(), {4096}, DType::u8}, 0);
    path_ = path.c_str();
    if (world().rank() == 0) {
      test::write_tiny_dataset(path_ / "tokens");
      test::write_tiny_texts(path_ / "texts", path_ / "vocabulary");
      RunConfig serial = config("serial");
      Trainer(serial).run();
      serial_ = read_metrics(path_ / "serial/metrics.jsonl");
    }
    world().communicator().barrier();
  }
  void TearDown() override { world().communicator().barrier(); }

  RunConfig config(const std::string& run) const {
    RunConfig c = test::tiny_run(path_ / "tokens", path_ / run);
    if (GetParam() == ModelKind::bert) test::train_a_bert(c, path_ / "texts", path_ / "vocabulary");
    c.model.num_layers = 4;
    c.model.num_heads = 4;
    c.train.micro_batch_size = 1;
    c.train.global_batch_size = 8;
    c.optimizer.decay_steps = 12;
    return c;
  }

  void expect_serial_losses(const std::string& run) const {
    if (world().rank() != 0) return;
    const MetricsHistory made = read_metrics(path_ / run / "metrics.jsonl");
    ASSERT_EQ(made.train.size(), serial_.train.size()) << run;
    for (size_t i = 0; i < made.train.size(); ++i) {
      EXPECT_NEAR(made.train[i].loss, serial_.train[i].loss, 1e-4 * serial_.train[i].loss) << run << " step " << i + 1;
      EXPECT_NEAR(made.train[i].gradient_norm, serial_.train[i].gradient_norm, 1e-3 * serial_.train[i].gradient_norm);
    }
  }
  void expect_serial_validation(const std::string& run) const {
    if (world().rank() != 0) return;
    const MetricsHistory made = read_metrics(path_ / run / "metrics.jsonl");
    ASSERT_EQ(made.validation.size(), serial_.validation.size());
    for (size_t i = 0; i < made.validation.size(); ++i)
      EXPECT_NEAR(made.validation[i].loss, serial_.validation[i].loss, 1e-4 * serial_.validation[i].loss);
  }

  fs::path path_;

 private:
  std::unique_ptr<TemporaryDirectory> folder_;
  MetricsHistory serial_;
};

GridConfig grid(int64_t t, int64_t p, int64_t v, int64_t zero, bool sequence_parallel = false) {
  GridConfig g;
  g.tensor_parallel = t;
  g.pipeline_parallel = p;
  g.virtual_pipeline = v;
  g.zero_stage = zero;
  g.sequence_parallel = sequence_parallel;
  return g;
}

TEST_P(GridTrainer, AnotherGridContinues) {
  const int ranks = world().size();
  std::vector<GridConfig> grids = {grid(1, 1, 1, 3), grid(1, 1, 1, 1)};
  if (ranks % 2 == 0) {
    grids.push_back(grid(2, 1, 1, 2, true));
    grids.push_back(grid(1, 2, 2, 0));
  }
  if (8 % ranks != 0) return;
  for (size_t i = 0; i < grids.size(); ++i) {
    const std::string run = "run" + std::to_string(i);
    RunConfig c = config(run);
    c.train.steps = 6;
    c.eval.interval = 4;
    c.parallel = grids[i];
    c.checkpoint.background = i % 2 == 1;
    Trainer(c, &world()).run();
    RunConfig rest = config(run);
    rest.parallel = grids[(i + 1) % grids.size()];
    Trainer(rest, &world()).run();
    expect_serial_losses(run);
  }
}

TEST_P(GridTrainer, HasTheCurveOfOneRank) {
  const int ranks = world().size();
  if (8 % ranks != 0) return;
  RunConfig c = config("zero");
  c.parallel = grid(1, 1, 1, 2);
  Trainer(c, &world()).run();
  expect_serial_losses("zero");
  expect_serial_validation("zero");
  if (ranks % 2 != 0) return;
  RunConfig q = config("pipeline");
  q.parallel = grid(1, 2, 2, 1);
  q.checkpoint.interval = 5;
  q.checkpoint.background = true;
  Trainer(q, &world()).run();
  expect_serial_losses("pipeline");
  expect_serial_validation("pipeline");
}

INSTANTIATE_TEST_SUITE_P(Models, GridTrainer, testing::Values(ModelKind::gpt, ModelKind::bert),
                         [](const auto& tested) { return tested.param == ModelKind::bert ? "bert" : "gpt"; });

}  // namespace
}  // namespace triax
