// Measured layers, and plans held against runs.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "plan/published.h"
#include "train/pipeline_example.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/plan/calibrate.h"
#include "triax/plan/compare.h"
#include "triax/plan/step.h"
#include "triax/plan/timing_rounds.h"
#include "triax/train/run_directory.h"

namespace triax {
namespace {

RunConfig tiny() {
  RunConfig run;
  run.model.num_layers = 4, run.model.hidden_size = 64, run.model.num_heads = 4, run.model.vocab_size = 256, run.model.max_positions = 32;
  run.train.micro_batch_size = 2, run.train.global_batch_size = 8;
  run.resolve();
  return run;
}

TEST(Calibrate, RoundsMeasureEveryPieceInTurn) {
  World world;
  TimingRounds rounds(world, 3);
  std::string order;
  const auto wait = [](int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); };
  while (rounds.next(0)) {
    const bool warms_up = order.empty();
    rounds.time(0, [&] { order += 'a', wait(warms_up ? 200 : 2); });
    rounds.time_on_some(1, true, [&] { order += 'b', wait(1); });
    rounds.time_on_some(2, false, [&] { order += 'c'; });
  }
  EXPECT_EQ(order, "abababababab");  // one to warm up, and no less than five
  EXPECT_GE(rounds.middle(0), 0.002);
  EXPECT_LT(rounds.middle(0), 0.2);  // of the five, without the first
  EXPECT_EQ(rounds.middle_ratio(0, 0), 1);
  EXPECT_GT(rounds.middle_ratio(0, 1), 0);
  EXPECT_EQ(rounds.middle(2), 0);  // nobody took part
}

TEST(Calibrate, MeasuredLayersAddUpToTheStep) {
  World world;
  Hardware hardware = load_hardware("cpu");
  const RunConfig run = tiny();
  profile_layers(world, run, 0.05, hardware);
  validate(hardware);
  const ProfileSpec& f = hardware.profile;
  ASSERT_EQ(f.tensor_parallel, std::vector<int64_t>{1});
  EXPECT_GT(f.layer_forward[0], 0);
  EXPECT_GT(f.layer_backward[0], f.layer_backward_weight[0]);
  EXPECT_GT(f.optimizer_per_parameter, 0);
  EXPECT_GT(f.embedding[0], 0);
  EXPECT_EQ(f.exchange[0], 0);
  EXPECT_EQ(f.layer_recompute[0], 0);
  const StepPlan plan = plan_of(run);
  const double micro_batch = 4 * (f.layer_forward[0] + f.layer_backward[0]) + f.head_forward[0] + f.head_backward[0] + f.embedding[0];
  EXPECT_NEAR(predict_step(plan, hardware).seconds, 4 * micro_batch + f.optimizer_per_parameter * parameters_of_rank(plan, 0), 1e-9);
  // Of another model nothing was measured.
  RunConfig other = run;
  other.model.hidden_size = 128;
  EXPECT_NE(predict_step(plan_of(other), hardware).seconds, predict_step(plan, hardware).seconds);
}

TEST(Calibrate, RecomputationIsMeasuredByItself) {
  World world;
  Hardware hardware = load_hardware("cpu");
  RunConfig run = tiny();
  run.train.recompute = Recompute::full;
  profile_layers(world, run, 0.1, hardware);
  const ProfileSpec& f = hardware.profile;
  EXPECT_GT(f.layer_recompute[0], 0);
  StepPlan plan = plan_of(run);
  const double recomputing = predict_step(plan, hardware).seconds;
  plan.keep_micro_batches = 1;  // of one stage no more are in flight
  EXPECT_NEAR(recomputing - predict_step(plan, hardware).seconds, 4 * 4 * f.layer_recompute[0], 1e-9);
}

TEST(Calibrate, AMeasuredFileReadsBackAsItIs) {
  World world;
  Hardware hardware = load_hardware("cpu");
  profile_layers(world, tiny(), 0.02, hardware);
  Hardware again;
  ConfigFields(again).load_text(ConfigFields(hardware).print(true), "mine.toml");
  EXPECT_EQ(ConfigFields(again).print(), ConfigFields(hardware).print());
  EXPECT_EQ(predict_step(plan_of(tiny()), again).seconds, predict_step(plan_of(tiny()), hardware).seconds);
}

TEST(Compare, HoldsAPlanAgainstARun) {
  TemporaryDirectory folder;
  RunConfig run = tiny();
  const RunDirectory directory{folder.path()};
  write_file_atomic(directory.config(), ConfigFields(run).print());
  {
    JsonLines lines(directory.metrics(), 0);
    for (int step = 1; step <= 5; ++step) {
      StepMetrics m;
      m.step = step, m.total_steps = 5, m.step_seconds = step == 1 ? 9.0 : 0.25;  // the first one warms up
      lines.append(m);
    }
  }
  const double arenas = largest(predict_memory(plan_of(run), load_hardware("cpu", {"device.reserved_bytes=0"})));
  write_memory(directory.memory(), {{{"program, libraries, data", 50 << 20}}, static_cast<uint64_t>(arenas) + (50 << 20)});
  const std::string text = compare_with_run(folder.path(), load_hardware("cpu"));
  EXPECT_NE(text.find("0.250 s"), std::string::npos) << text;
  // The program itself is taken from the run.
  const std::string line = text.substr(text.find("memory of rank 0"));
  EXPECT_NE(line.substr(0, line.find('\n')).find("+0.0 %"), std::string::npos) << text;
  EXPECT_THROW(compare_with_run(folder.path() / "none", load_hardware("cpu")), Error);
  EXPECT_THROW(write_compared_trace(folder.path() / "trace.json", folder.path(), load_hardware("cpu")), Error);  // no pipeline.json

  run.parallel.pipeline_parallel = 2;
  write_file_atomic(directory.config(), ConfigFields(run).print());
  write_pipeline(directory.pipeline(), test::simulated_record(ScheduleKind::interleaved_1f1b, {2, 1, 4}));
  const std::string rows = compare_with_run(folder.path(), load_hardware("cpu"));
  for (const char* row : {"rank 0 computes", "rank 6 forward", "rank 6 backward", "10.00 ms", "20.00 ms", "exchange, optimizer", "pipeline bubble"})
    EXPECT_NE(rows.find(row), std::string::npos) << row << '\n' << rows;
  write_compared_trace(folder.path() / "trace.json", folder.path(), load_hardware("cpu"));
  const std::string trace = read_file(folder.path() / "trace.json");
  const char* processes[] = {"measured rank 0", "simulated rank 0", "measured rank 6", "simulated rank 1"};
  for (const char* name : processes) EXPECT_NE(trace.find(name), std::string::npos) << name;
  EXPECT_LT(trace.find("measured rank 0"), trace.find("simulated rank 0"));
}

}  // namespace
}  // namespace triax
