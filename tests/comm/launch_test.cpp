#include "triax/comm/launch.h"

#include <gtest/gtest.h>

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax {
namespace {

std::string line(const LaunchPlan& plan) {
  std::string text;
  for (const auto& [name, value] : plan.environment) text += name + "=" + value + " ";
  for (const std::string& argument : plan.command) text += argument + " ";
  return std::string(trim(text));
}

std::string planned(const LaunchHost& host, int ranks) {
  const std::vector<std::string> arguments = {"train", "run.toml"};
  return line(plan_launch(host, ranks, "mpirun", "triax", arguments));
}

TEST(Launch, SharesTheCoresOut) {
  EXPECT_EQ(planned({.cores = 16}, 4), "OMP_NUM_THREADS=4 mpirun -n 4 --map-by slot:PE=4 --bind-to core triax train run.toml");
  EXPECT_EQ(planned({.cores = 2}, 2), "OMP_NUM_THREADS=1 mpirun -n 2 --map-by slot:PE=1 --bind-to core triax train run.toml");
  EXPECT_EQ(planned({.cores = 7}, 2), "OMP_NUM_THREADS=3 mpirun -n 2 --map-by slot:PE=3 --bind-to core triax train run.toml");
}

TEST(Launch, MoreRanksThanCoresShareThem) {
  EXPECT_EQ(planned({.cores = 2}, 8), "OMP_NUM_THREADS=1 mpirun -n 8 --oversubscribe --bind-to none triax train run.toml");
}

TEST(Launch, StaysOnTheCoresItWasGiven) {
  EXPECT_EQ(planned({.cores = 4, .all_cores = false}, 2), "OMP_NUM_THREADS=2 mpirun -n 2 --bind-to none triax train run.toml");
}

TEST(Launch, RespectsTheThreadsOfTheUserAndAllowsRoot) {
  EXPECT_EQ(planned({.cores = 2, .root = true, .threads_set = true}, 1),
            "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun -n 1 --map-by slot:PE=2 --bind-to core triax train run.toml");
  EXPECT_THROW(planned({}, 0), Error);
}

TEST(Launch, DropsTheOptionThatAskedForIt) {
  const char* spaced[] = {"triax", "train", "--nproc", "8", "run.toml", "--nprocs"};
  EXPECT_EQ(arguments_without("--nproc", 6, spaced), (std::vector<std::string>{"train", "run.toml", "--nprocs"}));
  const char* joined[] = {"triax", "train", "run.toml", "--nproc=8"};
  EXPECT_EQ(arguments_without("--nproc", 4, joined), (std::vector<std::string>{"train", "run.toml"}));
}

TEST(Launch, FindsPrograms) {
  EXPECT_EQ(find_program("sh", "/nowhere::/bin"), "/bin/sh");
  EXPECT_EQ(find_program("sh", "/nowhere"), "");
  EXPECT_EQ(find_program("bin", "/usr"), "");  // a folder
}

TEST(Launch, ThisHostHasCores) { EXPECT_GE(this_host().cores, 1); }

}  // namespace
}  // namespace triax
