// Whole runs, pages and traces.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "plan/published_runs.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/plan/page.h"
#include "triax/plan/tables.h"

namespace triax {
namespace {

Hardware selene_2021() {
  Hardware hardware = load_hardware("selene");
  hardware.software = software_2021(false);
  return hardware;
}

StepPlan trillion() { return published_plan(published_model(128, 160, 25600), 8, 64, 3072, 1, 1, 3072); }

// Narayanan et al. 2021, section 5.1 and 5.10: 450 B tokens take 84 days; a checkpoint has 13.8 TB, saved at 273 GB/s.
TEST(WholeRun, ATrillionParameters) {
  const Hardware hardware = selene_2021();
  const RunForecast f = forecast(trillion(), predict_step(trillion(), hardware, Detail::fast), hardware, 450e9);
  EXPECT_NEAR(f.seconds / 86400, 84, 84 * 0.05);
  EXPECT_NEAR(f.checkpoint_bytes / 13.8e12, 1, 0.03);
  EXPECT_NEAR(f.save_seconds, 13.8e12 / 273e9, 3);
  EXPECT_GT(f.failures, 1);
  EXPECT_LT(f.goodput, 1);
  EXPECT_NEAR(f.device_hours, f.days * 24 * 3072, 1);
  EXPECT_NEAR(f.money, f.device_hours * hardware.cost.price_per_device_hour, 1);
}

// Young's interval is the best one of the model: others give less goodput.
TEST(WholeRun, SaveIntervalIsTheBest) {
  const Hardware hardware = selene_2021();
  const RunForecast f = forecast(trillion(), predict_step(trillion(), hardware, Detail::fast), hardware, 450e9);
  const auto lost = [&](double interval) { return f.save_seconds / interval + interval / 2 / (f.job_mtbf_hours * 3600); };
  EXPECT_LT(lost(f.save_interval), lost(f.save_interval * 1.5));
  EXPECT_LT(lost(f.save_interval), lost(f.save_interval / 1.5));
}

TEST(WholeRun, MoreFailuresLessGoodput) {
  Hardware hardware = selene_2021();
  const StepPrediction step = predict_step(trillion(), hardware, Detail::fast);
  double before = 1;
  for (const double hours : {1e6, 2e4, 2e3}) {
    hardware.cost.node_mtbf_hours = hours;
    const double goodput = forecast(trillion(), step, hardware, 450e9).goodput;
    EXPECT_LT(goodput, before);
    before = goodput;
  }
  hardware.cost.node_mtbf_hours = 1;
  EXPECT_THROW(forecast(trillion(), step, hardware, 450e9), Error);
}

TEST(Scaling, WeakScalingKeepsItsEfficiencyBetterThanStrong) {
  StepPlan plan = published_plan(published_model(40, 48, 6144), 1, 1, 1, 1, 1, 256);
  SearchOptions options;
  options.devices = 64;
  const std::vector<ScalingPoint> strong = scaling(plan, load_hardware("selene"), options, false);
  const std::vector<ScalingPoint> weak = scaling(plan, load_hardware("selene"), options, true);
  ASSERT_GE(strong.size(), 4u);
  ASSERT_EQ(strong.back().devices, weak.back().devices);
  EXPECT_LT(strong.back().efficiency, weak.back().efficiency);
  for (size_t i = 1; i < strong.size(); ++i) EXPECT_LT(strong[i].best.step.seconds, strong[i - 1].best.step.seconds);
}

TEST(Page, HasEveryPictureAndNothingFromOutside) {
  const Hardware hardware = selene_2021();
  const StepPlan plan = published_plan(published_model(60, 80, 10240), 8, 4, 64, 3, 1, 64);
  const Candidate best = evaluate(plan, hardware);
  const std::string page = plan_page({"run <1>.toml", "selene", best, hardware, forecast(plan, best.step, hardware, 1e9), explain(best, hardware), {}, {}});
  for (const char* text : {"aria-label=\"timeline\"", "aria-label=\"breakdown\"", "aria-label=\"memory\"", "run &lt;1&gt;.toml", "stage 3"})
    EXPECT_NE(page.find(text), std::string::npos) << text;
  EXPECT_EQ(page.find("http"), std::string::npos);
  EXPECT_EQ(page.find("nan"), std::string::npos);
}

TEST(Page, SlicesAddUpToTheStep) {
  for (const PublishedRun& run : published_runs()) {
    Hardware hardware = load_hardware("selene");
    hardware.software = run.software;
    const StepPrediction step = predict_step(run.plan, hardware, Detail::fast);
    double sum = 0;
    for (const Slice& slice : slices(step)) sum += slice.seconds;
    EXPECT_NEAR(sum / step.seconds, 1, 1e-4) << run.name;
  }
}

TEST(Trace, OfASimulatedStepHasTheMeasuredNames) {
  TemporaryDirectory folder;
  const StepPlan plan = published_plan(published_model(24, 16, 1024), 1, 4, 8, 1, 1, 16);
  write_simulated_trace(folder.path() / "trace.json", plan, selene_2021());
  const std::string text = read_file(folder.path() / "trace.json");
  for (const char* name : {"simulated rank 0", "simulated rank 6", "\"forward", "\"backward", "optimizer", "compute", "idle"})
    EXPECT_NE(text.find(name), std::string::npos) << name;
}

TEST(HardwareFiles, LoadAndAreMadeOfPlausibleNumbers) {
  for (const char* name : {"selene", "dgx-2h", "dgx-h100", "dgx-h200", "cpu"}) {
    const Hardware hardware = load_hardware(name);
    EXPECT_GT(hardware.device.peak_flops, 1e11) << name;
    EXPECT_LE(hardware.network.adapter_bandwidth * static_cast<double>(hardware.network.adapters), 1e12) << name;
  }
  EXPECT_EQ(load_hardware("selene").devices(), 4480);
  EXPECT_EQ(load_hardware("selene", {"network.nodes=384"}).devices(), 3072);
}

TEST(HardwareFiles, MistakesAreRefused) {
  const auto refusal = [](const std::vector<std::string>& settings, const char* name = "selene") {
    try {
      load_hardware(name, settings);
      return std::string("no error");
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_NE(refusal({"device.peak_flop=1"}).find("did you mean device.peak_flops?"), std::string::npos);
  EXPECT_NE(refusal({"device.reserved_bytes=90e9"}).find("leaves nothing"), std::string::npos);
  EXPECT_NE(refusal({"device.gemm_m=1,2"}).find("columns of one table"), std::string::npos);
  EXPECT_NE(refusal({}, "dgx-b200").find("neither a file nor a name"), std::string::npos);
}

}  // namespace
}  // namespace triax
