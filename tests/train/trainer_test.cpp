// Whole runs of a tiny GPT: what is written, and that an interrupted run continues bit for bit.
#include "triax/train/trainer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <thread>

#include "train/tiny_run.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/kernels/elementwise.h"
#include "triax/train/load_model.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

class TrainerTest : public testing::Test {
 protected:
  TrainerTest() : folder_("trainer-test") {
    test::write_tiny_dataset(folder_.path() / "tokens");
  }

  RunConfig config(const std::string& run) const {
    return test::tiny_run(folder_.path() / "tokens", folder_.path() / run);
  }

  MetricsHistory history(const std::string& run) const {
    return read_metrics(folder_.path() / run / "metrics.jsonl");
  }
  fs::path checkpoint(const std::string& run, int64_t step) const {
    return checkpoint_path(folder_.path() / run / "checkpoints", step);
  }
  // Every byte of every tensor, and the losses.
  void expect_equal_runs(const std::string& a, const std::string& b, int64_t step) const {
    const CheckpointReader x(checkpoint(a, step)), y(checkpoint(b, step));
    ASSERT_EQ(x.index().tensors.size(), y.index().tensors.size());
    for (const StoredTensor& tensor : x.index().tensors) {
      OwnedTensor u(tensor.shape, tensor.dtype), v(tensor.shape, tensor.dtype);
      x.read(tensor.name, u);
      y.read(tensor.name, v);
      EXPECT_EQ(std::memcmp(u.view().raw(), v.view().raw(), u.view().bytes()), 0) << tensor.name;
    }
    const MetricsHistory p = history(a), q = history(b);
    ASSERT_EQ(p.train.size(), q.train.size());
    for (size_t i = 0; i < p.train.size(); ++i) {
      EXPECT_EQ(p.train[i].step, q.train[i].step);
      EXPECT_EQ(p.train[i].loss_scale, q.train[i].loss_scale);
      EXPECT_EQ(p.train[i].skipped, q.train[i].skipped);
      if (p.train[i].skipped) continue;  // its gradients, and perhaps its loss, were NaN
      EXPECT_EQ(p.train[i].loss, q.train[i].loss);
      EXPECT_EQ(p.train[i].gradient_norm, q.train[i].gradient_norm);
    }
  }

  TemporaryDirectory folder_;
};

TEST_F(TrainerTest, LearnsAndWritesItDown) {
  RunConfig c = config("run");
  c.train.steps = 60;
  const TrainOutcome outcome = Trainer(c).run();
  EXPECT_TRUE(outcome.finished);
  const MetricsHistory made = history("run");
  ASSERT_EQ(made.train.size(), 60u);
  EXPECT_NEAR(made.train.front().loss, std::log(50.0), 0.3);
  EXPECT_LT(made.train.back().loss, 2.8);
  ASSERT_EQ(made.validation.size(), 15u);
  EXPECT_LT(made.validation.back().loss, made.validation.front().loss);
  EXPECT_TRUE(fs::exists(checkpoint("run", 60) / "index.json"));
  EXPECT_EQ(made.train.back().consumed_tokens, 60 * 4 * 16);
}

TEST_F(TrainerTest, ResumesBitForBit) {
  RunConfig straight = config("straight");
  straight.checkpoint.interval = 5;
  Trainer(straight).run();
  // The same run, which has only the checkpoint of step 5, as if it had been killed after it.
  fs::create_directories(folder_.path() / "resumed/checkpoints");
  fs::copy(checkpoint("straight", 5), checkpoint("resumed", 5), fs::copy_options::recursive);
  fs::copy(folder_.path() / "straight/metrics.jsonl", folder_.path() / "resumed/metrics.jsonl");
  Trainer(config("resumed")).run();
  expect_equal_runs("straight", "resumed", 12);
}

// With scales that are skipped from, halved and doubled before and after the checkpoint.
TEST_F(TrainerTest, ResumesBitForBitInFp16) {
  const auto in_fp16 = [&](const std::string& run) {
    RunConfig c = config(run);
    c.train.precision = Precision::fp16;
    c.train.initial_loss_scale = 0x1p24;
    c.train.loss_scale_window = 2;
    return c;
  };
  RunConfig straight = in_fp16("straight");
  straight.checkpoint.interval = 5;
  Trainer(straight).run();
  const auto skipped = [&](size_t begin, size_t end) {
    const std::vector<StepMetrics> steps = history("straight").train;
    return std::count_if(steps.begin() + static_cast<long>(begin), steps.begin() + static_cast<long>(end),
                         [](const StepMetrics& m) { return m.skipped; });
  };
  EXPECT_GT(skipped(0, 5), 0);
  EXPECT_LT(skipped(0, 12), 12);
  fs::create_directories(folder_.path() / "resumed/checkpoints");
  fs::copy(checkpoint("straight", 5), checkpoint("resumed", 5), fs::copy_options::recursive);
  fs::copy(folder_.path() / "straight/metrics.jsonl", folder_.path() / "resumed/metrics.jsonl");
  Trainer(in_fp16("resumed")).run();
  expect_equal_runs("straight", "resumed", 12);
}

class BertTrainerTest : public TrainerTest {
 protected:
  BertTrainerTest() { test::write_tiny_texts(folder_.path() / "texts", folder_.path() / "vocabulary"); }
  RunConfig bert(const std::string& run) const {
    RunConfig c = config(run);
    test::train_a_bert(c, folder_.path() / "texts", folder_.path() / "vocabulary");
    return c;
  }
};

TEST_F(BertTrainerTest, LearnsBothOfItsTasksAndWritesThemDown) {
  RunConfig c = bert("run");
  c.train.steps = 90;
  c.train.global_batch_size = 16;
  c.eval.interval = 30;
  Trainer(c).run();
  const MetricsHistory made = history("run");
  ASSERT_EQ(made.train.size(), 90u);
  for (const StepMetrics& m : made.train) {
    ASSERT_EQ(m.extra.size(), 2u);
    EXPECT_EQ(m.extra[0].first, "lm_loss");
    EXPECT_EQ(m.extra[1].first, "order_loss");
    EXPECT_NEAR(m.loss, m.extra[0].second + m.extra[1].second, 1e-9);
  }
  EXPECT_NEAR(made.train.front().extra[0].second, std::log(50.0), 0.4);
  EXPECT_NEAR(made.train.front().extra[1].second, std::log(2.0), 0.1);
  ASSERT_EQ(made.validation.size(), 3u);
  EXPECT_LT(made.validation.back().extra[0].second, 3.2);
  EXPECT_EQ(made.validation.back().perplexity(), std::exp(made.validation.back().extra[0].second));
  // Padding is not counted: samples are at most 16 tokens, some shorter.
  EXPECT_LT(made.train.back().consumed_tokens, 90 * 16 * 16);
  EXPECT_GT(made.train.back().consumed_tokens, 90 * 16 * 9);
}

TEST_F(BertTrainerTest, ResumesBitForBit) {
  for (const bool post_norm : {false, true}) {
    const std::string name = post_norm ? "post" : "pre";
    const auto run = [&](const std::string& suffix) {
      RunConfig c = bert(name + suffix);
      c.model.post_norm = post_norm;
      c.train.recompute = post_norm ? Recompute::selective : Recompute::none;
      if (post_norm) c.train.precision = Precision::bf16, c.optimizer.stochastic_rounding = true;
      return c;
    };
    RunConfig straight = run("-straight");
    straight.checkpoint.interval = 5;
    Trainer(straight).run();
    fs::create_directories(folder_.path() / (name + "-resumed/checkpoints"));
    fs::copy(checkpoint(name + "-straight", 5), checkpoint(name + "-resumed", 5), fs::copy_options::recursive);
    fs::copy(folder_.path() / (name + "-straight/metrics.jsonl"), folder_.path() / (name + "-resumed/metrics.jsonl"));
    Trainer(run("-resumed")).run();
    expect_equal_runs(name + "-straight", name + "-resumed", 12);
  }
}

TEST_F(BertTrainerTest, HalfPrecisionsStayNearFp32) {
  for (const bool post_norm : {false, true}) {
    RunConfig c = bert("fp32");
    c.model.post_norm = post_norm;
    c.model.hidden_dropout = c.model.attention_dropout = 0;
    c.train.loss_scale = 1024;
    c.checkpoint.resume = false;
    Trainer(c).run();
    const MetricsHistory wide = history("fp32");
    for (const Precision precision : {Precision::bf16, Precision::fp16}) {
      c.output.dir = (folder_.path() / "half").string();
      c.train.precision = precision;
      Trainer(c).run();
      const MetricsHistory narrow = history("half");
      ASSERT_EQ(narrow.train.size(), wide.train.size());
      for (size_t i = 0; i < wide.train.size(); ++i)
        EXPECT_NEAR(narrow.train[i].loss, wide.train[i].loss, 0.02 * wide.train[i].loss) << "step " << i + 1;
      EXPECT_NE(narrow.train.back().loss, wide.train.back().loss);
    }
  }
}

TEST_F(BertTrainerTest, GoesOnFromAnotherRunsWeights) {
  Trainer(bert("general")).run();
  const double reached = history("general").validation.back().loss;
  RunConfig c = bert("domain");
  c.checkpoint.load = checkpoint("general", 12).string();
  c.train.steps = 1;
  c.optimizer.learning_rate = c.optimizer.min_learning_rate = 0;
  Trainer(c).run();
  EXPECT_NEAR(history("domain").validation.back().loss, reached, 1e-6);
}

// As a task is tuned from it: the same weights in a model of one rank, the classifier's new.
TEST_F(BertTrainerTest, ItsCheckpointOpensAsABert) {
  Trainer(bert("run")).run();
  const SavedBert saved = open_bert(folder_.path() / "run");
  EXPECT_EQ(saved.run.model.vocab_size, 50);
  EXPECT_EQ(saved.tokenizer, folder_.path() / "vocabulary");
  Bert model(saved.run.model, {.head = BertHead::sequence, .num_labels = 2});
  EXPECT_EQ(load_bert(saved, model), (std::vector<std::string>{"classifier.weight", "classifier.bias"}));
  EXPECT_GT(sum_of_squares({}, model.parameters().master(0)), 0);
  Trainer(config("gpt")).run();
  EXPECT_THROW(open_bert(folder_.path() / "gpt"), Error);
  EXPECT_THROW(load_gpt(folder_.path() / "run", {}, DType::f32), Error);
}

TEST_F(BertTrainerTest, RefusesWhatABertCannot) {
  const auto refusal = [](const RunConfig& c) {
    try {
      Trainer trainer(c);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  RunConfig c = bert("refused");
  c.eval.prompts = {"w1"};
  EXPECT_NE(refusal(c).find("eval.prompts"), std::string::npos);
  c = bert("refused");
  c.data.tokenizer.clear();
  EXPECT_NE(refusal(c).find("data.tokenizer"), std::string::npos);
  c = bert("refused");
  c.data.reset_attention = true;
  EXPECT_NE(refusal(c).find("data.reset_attention"), std::string::npos);
  c = config("refused");
  c.model.post_norm = true;
  EXPECT_NE(refusal(c).find("model.post_norm"), std::string::npos);
  c = bert("refused");
  c.data.train = {(folder_.path() / "tokens").string()};  // not cut into sentences
  EXPECT_NE(refusal(c).find("--sentences"), std::string::npos);
}

TEST_F(TrainerTest, StopsAtASignalAndContinues) {
  Trainer(config("straight")).run();
  {
    Trainer trainer(config("stopped"));
    std::thread sender([&] {  // a signal somewhere in the middle of the run
      while (!fs::exists(folder_.path() / "stopped/metrics.jsonl")) std::this_thread::yield();
      ::kill(::getpid(), SIGTERM);
    });
    trainer.run();
    sender.join();
  }
  Trainer(config("stopped")).run();
  expect_equal_runs("straight", "stopped", 12);
}

TEST_F(TrainerTest, ContinuesFromTheLastWholeCheckpoint) {
  RunConfig c = config("run");
  c.checkpoint.interval = 4;
  Trainer(c).run();
  // The newest one lost its end: a truncated piece file.
  const fs::path damaged = checkpoint("run", 12);
  for (const auto& file : fs::directory_iterator(damaged))
    if (file.path().extension() == ".safetensors") fs::resize_file(file.path(), fs::file_size(file.path()) / 2);
  fs::copy(folder_.path() / "run", folder_.path() / "whole", fs::copy_options::recursive);
  fs::remove_all(checkpoint("whole", 12));
  Trainer(config("run")).run();
  Trainer(config("whole")).run();
  expect_equal_runs("run", "whole", 12);
}

TEST_F(TrainerTest, BatchRampReachesTheGlobalBatch) {
  RunConfig c = config("ramp");
  c.train.global_batch_size = 8;
  c.train.batch_ramp_start = 2;
  c.train.batch_ramp_increment = 2;
  c.train.batch_ramp_samples = 12;
  Trainer(c).run();
  const MetricsHistory made = history("ramp");
  std::vector<int64_t> batches;
  int64_t before = 0;
  for (const StepMetrics& m : made.train) {
    batches.push_back((m.consumed_tokens - before) / 16);
    before = m.consumed_tokens;
  }
  EXPECT_EQ(batches, (std::vector<int64_t>{2, 2, 4, 6, 8, 8, 8, 8, 8, 8, 8, 8}));
}

void expect_contains(const std::string& message, const std::string& part) {
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST_F(TrainerTest, RefusesDataOfAnotherVocabulary) {
  RunConfig c = config("refused");
  c.model.vocab_size = 20;
  try {
    Trainer(c).run();
    FAIL() << "token 49 went into a vocabulary of 20";
  } catch (const Error& error) {
    expect_contains(error.what(), "vocabulary");
  }
}

TEST_F(TrainerTest, RefusesWhatCannotWork) {
  const auto message = [&](auto&& change) -> std::string {
    RunConfig c = config("refused");
    change(c);
    try {
      Trainer trainer(c);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing";
  };
  expect_contains(message([](RunConfig& c) { c.train.global_batch_size = 5; }), "the nearest are 4 and 6");
  expect_contains(message([](RunConfig& c) { c.train.sequence_length = 64; }), "model.max_positions = 16");
  expect_contains(message([](RunConfig& c) { c.model.vocab_size = 0; }), "model.vocab_size");
  expect_contains(message([](RunConfig& c) {
    c.model.hidden_size = 65536;
    c.model.num_layers = 96;
  }), "lower train.micro_batch_size");
  EXPECT_FALSE(fs::exists(folder_.path() / "refused"));
}

}  // namespace
}  // namespace triax
