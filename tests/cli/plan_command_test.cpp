// `triax plan` as a user calls it.
#include <gtest/gtest.h>

#include "cli/run_triax.h"
#include "triax/base/file.h"

namespace triax {
namespace {

const std::string kConfigs = std::string(TRIAX_SOURCE_DIR) + "/configs/";

TEST(PlanCommand, PlansWritesAndDraws) {
  TemporaryDirectory folder;
  const std::string path = folder.path().string();
  const ProgramResult plan = run_triax("plan " + kConfigs + "gpt-39b.toml --hardware selene --devices 512 --tokens 300e9 -o " + path + "/planned.toml --html " +
                                       path + "/plan.html --trace " + path + "/trace.json");
  ASSERT_EQ(plan.status, 0) << plan.err;
  for (const char* text : {"best: t ", "memory of a device", "why this one", "failures expected", "matrix products"})
    EXPECT_NE(plan.out.find(text), std::string::npos) << text;
  EXPECT_NE(read_file(folder.path() / "plan.html").find("aria-label=\"memory\""), std::string::npos);
  EXPECT_NE(read_file(folder.path() / "trace.json").find("simulated rank 0"), std::string::npos);
  EXPECT_EQ(run_triax("config " + path + "/planned.toml").status, 0);
  // The plan of the plan is the plan.
  const ProgramResult again = run_triax("plan " + path + "/planned.toml --hardware selene --evaluate");
  ASSERT_EQ(again.status, 0) << again.err;
  const std::string best = plan.out.substr(plan.out.find("best: ") + 6);
  EXPECT_NE(again.out.find("this run: " + best.substr(0, best.find('\n'))), std::string::npos) << again.out;
}

TEST(PlanCommand, WhatDoesNotFitIsToldWithWhatWould) {
  const ProgramResult search = run_triax("plan " + kConfigs + "gpt-1t.toml --devices 64");
  EXPECT_EQ(search.status, 1);
  EXPECT_NE(search.err.find("nothing fits on 64 devices"), std::string::npos) << search.err;
  const ProgramResult evaluate = run_triax("plan " + kConfigs + "gpt-18b.toml --evaluate --set parallel.tensor_parallel=4 --set parallel.data_parallel=2");
  EXPECT_EQ(evaluate.status, 0) << evaluate.err;
  EXPECT_NE(evaluate.out.find("does not fit"), std::string::npos) << evaluate.out;
}

TEST(PlanCommand, PlansWhatOnlyGpusMultiplyForGpus) {
  for (const char* precision : {"tf32", "fp8"}) {
    const std::string run = "plan " + kConfigs + "gpt2-124m.toml --devices 2 --evaluate --set train.precision=" + precision;
    const ProgramResult gpu = run_triax(run + " --hardware dgx-h100"), cpu = run_triax(run + " --hardware cpu");
    EXPECT_EQ(gpu.status, 0) << gpu.err;
    EXPECT_NE(cpu.err.find("is a way of GPUs to multiply"), std::string::npos) << cpu.err;
  }
}

TEST(PlanCommand, MistakesNameTheRemedy) {
  EXPECT_NE(run_triax("plan").err.find("triax plan needs a run"), std::string::npos);
  EXPECT_NE(run_triax("plan " + kConfigs + "gpt-39b.toml --hardware selena").err.find("neither a file nor a name"), std::string::npos);
  EXPECT_NE(run_triax("plan " + kConfigs + "gpt-39b.toml --keep train.recomput").err.find("did you mean train.recompute?"), std::string::npos);
}

}  // namespace
}  // namespace triax
