#include "triax/train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "triax/base/file.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

StepMetrics step_at(int64_t step, double loss) {
  StepMetrics m;
  m.step = step;
  m.total_steps = 10;
  m.loss = loss;
  m.learning_rate = 1e-4;
  m.gradient_norm = 0.1 + 0.2;
  m.tokens_per_second = 1234.5;
  m.model_flops_per_second = 3e11;
  m.mfu = 0.9;
  m.step_seconds = 0.5;
  m.consumed_tokens = step * 1000;
  return m;
}

TEST(Metrics, ReadsBackWhatWasWritten) {
  TemporaryDirectory folder;
  const fs::path path = folder.path() / "metrics.jsonl";
  {
    JsonLines lines(path, 0);
    StepMetrics m = step_at(1, 4.25);
    m.loss_scale = 65536;
    m.skipped = true;
    m.gpu = GpuFigures{.power_watts = 612.5, .temperature = 61, .memory_bytes = uint64_t{71} << 30, .held_back_by = "heat"};
    m.extra = {{"mlm_loss", 3.0}, {"nsp_loss", std::numeric_limits<double>::infinity()}};
    lines.append(m);
    lines.append(step_at(2, std::numeric_limits<double>::quiet_NaN()));
    lines.append(ValidationMetrics{2, 10, 4.5, 777, 1.5, 2000, {{"accuracy", 0.5}}});
  }
  const MetricsHistory history = read_metrics(path);
  ASSERT_EQ(history.train.size(), 2u);
  EXPECT_EQ(history.train[0].loss, 4.25);
  EXPECT_EQ(history.train[0].gradient_norm, 0.1 + 0.2);
  EXPECT_EQ(history.train[0].consumed_tokens, 1000);
  EXPECT_EQ(history.train[0].loss_scale, 65536);
  EXPECT_TRUE(history.train[0].skipped);
  ASSERT_TRUE(history.train[0].gpu.has_value());
  EXPECT_EQ(history.train[0].gpu->power_watts, 612.5);
  EXPECT_EQ(history.train[0].gpu->temperature, 61);
  EXPECT_EQ(history.train[0].gpu->memory_bytes, uint64_t{71} << 30);
  EXPECT_EQ(history.train[0].gpu->held_back_by, "heat");
  EXPECT_FALSE(history.train[1].gpu.has_value());
  ASSERT_EQ(history.train[0].extra.size(), 2u);
  EXPECT_EQ(history.train[0].extra[0], (std::pair<std::string, double>{"mlm_loss", 3.0}));
  EXPECT_TRUE(std::isnan(history.train[0].extra[1].second));
  EXPECT_TRUE(std::isnan(history.train[1].loss));
  EXPECT_FALSE(history.train[1].skipped);
  ASSERT_EQ(history.validation.size(), 1u);
  EXPECT_EQ(history.validation[0].loss, 4.5);
  EXPECT_EQ(history.validation[0].tokens, 777);
  EXPECT_EQ(history.validation[0].extra[0].second, 0.5);
  EXPECT_EQ(history.damaged_lines, 0);
}

TEST(Metrics, ResumingDropsLaterSteps) {
  TemporaryDirectory folder;
  const fs::path path = folder.path() / "metrics.jsonl";
  {
    JsonLines lines(path, 0);
    for (int step = 1; step <= 6; ++step) lines.append(step_at(step, step));
  }
  write_file_atomic(path, read_file(path) + "{\"kind\":\"train\",\"step\":7,\"lo");  // a crash
  EXPECT_EQ(read_metrics(path).damaged_lines, 1);
  {
    JsonLines lines(path, 4);
    lines.append(step_at(5, 50));
  }
  const MetricsHistory history = read_metrics(path);
  ASSERT_EQ(history.train.size(), 5u);
  EXPECT_EQ(history.train[3].loss, 4);
  EXPECT_EQ(history.train[4].loss, 50);
  EXPECT_EQ(history.damaged_lines, 0);
}

TEST(Metrics, AFreshRunStartsAnEmptyFile) {
  TemporaryDirectory folder;
  const fs::path path = folder.path() / "metrics.jsonl";
  JsonLines(path, 0).append(step_at(0, 1));
  JsonLines(path, 0).append(step_at(1, 2));
  EXPECT_EQ(read_metrics(path).train.size(), 1u);
}

TEST(Metrics, SamplesKeepTheirText) {
  TemporaryDirectory folder;
  const fs::path path = folder.path() / "samples.jsonl";
  {
    JsonLines lines(path, 0);
    lines.append(TextSample{5, "Once \"upon\"\n", "a <b>time</b>\t"});
    lines.append(TextSample{6, "", "half a character: \xc3"});
  }
  const std::vector<TextSample> samples = read_samples(path);
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].prompt, "Once \"upon\"\n");
  EXPECT_EQ(samples[0].text, "a <b>time</b>\t");
  EXPECT_EQ(samples[1].text, "half a character: \xEF\xBF\xBD");
}

TEST(Metrics, OddLinesAreNotTrusted) {
  TemporaryDirectory folder;
  const fs::path path = folder.path() / "metrics.jsonl";
  write_file_atomic(
      path,
      "[]\n{}\n3\n{\"step\":\"1\",\"kind\":\"train\"}\n{\"step\":-1,\"kind\":\"train\"}\n\n\xff\n"
      "{\"step\":1,\"kind\":\"train\",\"loss\":\"high\",\"extra\":[1],\"mfu\":null}\n"
      "{\"step\":2,\"kind\":\"other\"}\n");
  const MetricsHistory history = read_metrics(path);
  EXPECT_EQ(history.damaged_lines, 6);
  ASSERT_EQ(history.train.size(), 1u);
  EXPECT_TRUE(std::isnan(history.train[0].loss));
}

}  // namespace
}  // namespace triax
