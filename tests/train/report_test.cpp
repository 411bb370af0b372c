#include "triax/train/report.h"

#include <gtest/gtest.h>

#include <cmath>

#include "train/pipeline_example.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/text.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

// Every element that is opened is closed, in order. Returns what is wrong, or nothing.
std::string unbalanced(const std::string& html) {
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return "an unfinished tag";
    const std::string tag = html.substr(at + 1, end - at - 1);
    const std::string name =
        tag.substr(tag[0] == '/', tag.find_first_of(" \n/", 1) - (tag[0] == '/'));
    if (tag[0] == '!' || name == "meta" || name == "input" || tag.back() == '/') continue;
    if (tag[0] != '/') {
      open.push_back(name);
      if (name == "script" || name == "style") at = html.find("</" + name, at) - 1;
    } else {
      const std::string closed = tag.substr(1);
      if (open.empty() || open.back() != closed)
        return "</" + closed + "> closes <" + (open.empty() ? "" : open.back()) + ">";
      open.pop_back();
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> is never closed";
}

RunRecord example(const std::string& name, int steps) {
  RunRecord run;
  run.name = name;
  for (int i = 1; i <= steps; ++i) {
    StepMetrics m;
    m.step = i;
    m.total_steps = 2 * steps;
    m.loss = 3 + 5.0 / i;
    m.learning_rate = 1e-3;
    m.gradient_norm = 1;
    m.tokens_per_second = 1000;
    m.model_flops_per_second = 1e11;
    m.mfu = 0.5;
    m.step_seconds = 2;
    m.consumed_tokens = i * 512;
    run.metrics.train.push_back(m);
    if (i % 10 == 0)
      run.metrics.validation.push_back({i, 2 * steps, m.loss + 0.1, 100, 1.0, i * 512, {}});
  }
  run.config = "[model]\nhidden_size = 8\n\n[train]\nsteps = " + std::to_string(steps) + "\n";
  run.environment = {{"cpu", "A CPU"}, {"parameters", "124439808"}};
  run.memory = {{{"weights", 3u << 20}, {"activations", 1u << 20}}, 5u << 20};
  run.samples = {{steps, "Once", " upon"}};
  return run;
}

TEST(Report, TellsTheRun) {
  const RunRecord run = example("my-run", 100);
  const std::string html = report_html({&run, 1});
  EXPECT_EQ(unbalanced(html), "");
  for (const char* text :
       {"<title>my-run</title>", "124 M", "of 200, unfinished", "51.2 k", "3m 20s", "3.1500",
        "1.00 k", "50.0% of the measured peak", "predicted 4.0 MiB (+25.0%)",
        "<mark>Once</mark> upon", "75.0%", "hidden_size = 8", "A CPU"}) {
    EXPECT_NE(html.find(text), std::string::npos) << text;
  }
  for (const char* outside : {"http://", "https://", "src=", "@import", "url("}) {
    EXPECT_EQ(html.find(outside), std::string::npos)
        << "the page must need nothing else: " << outside;
  }
}

TEST(Report, ShowsWhatAGpuTold) {
  RunRecord run = example("on-gpu", 30);
  EXPECT_EQ(report_html({&run, 1}).find("GPU power"), std::string::npos);
  for (StepMetrics& m : run.metrics.train) m.gpu = GpuFigures{.power_watts = 600, .temperature = 60, .memory_bytes = 1, .held_back_by = ""};
  run.metrics.train[3].gpu->held_back_by = "heat";
  const std::string html = report_html({&run, 1});
  EXPECT_NE(html.find("GPU power"), std::string::npos);
  EXPECT_NE(html.find("GPU temperature"), std::string::npos);
  EXPECT_NE(html.find("the GPU was held back by heat in 1 of 30 logged steps."), std::string::npos);
  EXPECT_EQ(unbalanced(html), "");
}

TEST(Report, NothingFromFilesBecomesMarkup) {
  const std::string evil = "</script><script>alert(1)</script>\"'&<b>";
  RunRecord run = example(evil, 30);
  run.config = run.environment[0].second = run.environment[0].first = evil;
  run.memory.predicted[0].purpose = run.samples[0].prompt = run.samples[0].text = evil;
  run.remarks = {evil};
  run.metrics.train[0].extra = {{evil, 1.0}};
  run.pipeline = test::simulated_record(ScheduleKind::gpipe, {2, 1, 2});
  run.pipeline->ranks[0].communication[0].group = evil;
  const std::vector<RunRecord> two = {run, run};
  for (const std::string& html : {report_html({&run, 1}), report_html(two)}) {
    EXPECT_EQ(html.find("alert(1)</script>"), std::string::npos);
    EXPECT_EQ(html.find("&<b>"), std::string::npos);
    EXPECT_EQ(unbalanced(html), "");
  }
}

TEST(Report, RunsAreComparedByTokensWhenTheirBatchesDiffer) {
  std::vector<RunRecord> runs = {example("one", 40), example("two", 20)};
  EXPECT_NE(report_html(runs).find(">step</text>"), std::string::npos);
  for (StepMetrics& m : runs[1].metrics.train) m.consumed_tokens *= 4;
  const std::string html = report_html(runs);
  EXPECT_EQ(html.find(">step</text>"), std::string::npos);
  EXPECT_NE(html.find(">tokens</text>"), std::string::npos);
  EXPECT_EQ(unbalanced(html), "");
  const size_t differences = html.find("Differences in configuration");
  ASSERT_NE(differences, std::string::npos);
  EXPECT_NE(html.find("train.steps", differences), std::string::npos);
  EXPECT_EQ(html.find("model.hidden_size", differences), std::string::npos);
}

TEST(Report, WhatIsMissingIsLeftOut) {
  RunRecord empty;
  empty.name = "empty";
  RunRecord single = example("single", 1);
  single.metrics.train[0].loss = std::nan("");
  single.metrics.train[0].mfu = 0;
  for (const RunRecord& run : {empty, single}) {
    const std::string html = report_html({&run, 1});
    EXPECT_EQ(unbalanced(html), "");
    EXPECT_EQ(html.find(">nan<"), std::string::npos);
    EXPECT_EQ(html.find("Model FLOP utilisation"), std::string::npos);
  }
  EXPECT_NE(report_html({&empty, 1}).find("no training step has been logged yet"),
            std::string::npos);
  EXPECT_NE(
      report_html({&single, 1}).find("the loss of 1 of 1 logged steps is not a finite number"),
      std::string::npos);
}

size_t count_of(const std::string& text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Report, DrawsThePipeline) {
  RunRecord run = example("my-run", 10);
  EXPECT_EQ(report_html({&run, 1}).find("Pipeline"), std::string::npos);
  // Messages take their time, which the formula leaves out.
  run.pipeline = test::simulated_record(ScheduleKind::interleaved_1f1b, {4, 2, 8}, {0.010, 0.012, 0.008, 0.002});
  const std::string html = report_html({&run, 1});
  EXPECT_EQ(unbalanced(html), "");
  for (const char* text : {"Pipeline bubble", "published (p-1)/(v m + p-1) = 15.8 %", "p = 4 ranks with v = 2 chunks each, m = 8",
                           "one of the 6 pipelines of t = 2, d = 3", ">rank 18</text>", "waits for a message",
                           "forward, micro-batch 7, chunk 1, 10 ms", "101 MiB", "+1.00 %", "+2.44 %", "tensor"}) {
    EXPECT_NE(html.find(text), std::string::npos) << text;
  }
  // Every computation once as measured and once as the schedule has it, with its number or hover title.
  EXPECT_EQ(count_of(html, "<title>forward, "), 2u * 4 * 2 * 8);
  EXPECT_EQ(count_of(html, "<title>backward, "), 2u * 4 * 2 * 8);
  run.pipeline = test::simulated_record(ScheduleKind::zb_h1, {4, 1, 8});
  const std::string split = report_html({&run, 1});
  EXPECT_EQ(unbalanced(split), "");
  EXPECT_NE(split.find("backward: weights"), std::string::npos);
  EXPECT_EQ(count_of(split, "<title>backward, gradient of the weights, "), 2u * 4 * 8);
  const std::vector<RunRecord> two = {run, example("other", 10)};
  EXPECT_EQ(unbalanced(report_html(two)), "");
}

TEST(Report, LeavesOutAPipelineInWhichNothingWasComputed) {
  TemporaryDirectory folder;
  const RunDirectory directory{folder.path()};
  write_file_atomic(directory.metrics(), "");
  PipelineRecord record = test::simulated_record(ScheduleKind::gpipe, {2, 1, 2});
  write_pipeline(directory.pipeline(), record);
  EXPECT_TRUE(read_run(folder.path()).pipeline.has_value());
  for (PipelineRank& rank : record.ranks) rank.spans.clear();
  write_pipeline(directory.pipeline(), record);
  const RunRecord run = read_run(folder.path());
  EXPECT_FALSE(run.pipeline.has_value());
  ASSERT_EQ(run.remarks.size(), 1u);
  EXPECT_EQ(unbalanced(report_html({&run, 1})), "");
}

TEST(Report, ReadsAFolderWithDamage) {
  TemporaryDirectory folder;
  EXPECT_THROW(read_run(folder.path()), Error);
  const RunDirectory directory{folder.path()};
  write_file_atomic(directory.metrics(),
                    "{\"kind\":\"train\",\"step\":1,\"loss\":2}\n{\"kind\":\"tr");
  write_file_atomic(directory.memory(), "not json");
  const RunRecord run = read_run(folder.path());
  EXPECT_EQ(run.metrics.train.size(), 1u);
  ASSERT_EQ(run.remarks.size(), 1u);
  const std::string html = report_html({&run, 1});
  EXPECT_NE(html.find("memory.json: not a JSON object"), std::string::npos);
  EXPECT_NE(html.find("1 damaged lines"), std::string::npos);
}

}  // namespace
}  // namespace triax
