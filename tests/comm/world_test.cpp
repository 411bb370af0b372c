#include "triax/comm/world.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "triax/base/error.h"

namespace triax {
namespace {

bool started_with(const std::map<std::string, std::string>& environment) {
  return started_by_launcher([&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

TEST(World, KnowsItsLauncher) {
  EXPECT_FALSE(started_with({}));
  EXPECT_TRUE(started_with({{"OMPI_COMM_WORLD_SIZE", "4"}}));
  EXPECT_TRUE(started_with({{"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "8"}}));
  EXPECT_TRUE(started_with({{"PMI_RANK", "0"}}));
  // In a batch script, before any srun, and with one task there is nobody to talk to.
  EXPECT_FALSE(started_with({{"SLURM_JOB_ID", "7"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}));
  EXPECT_FALSE(started_with({{"SLURM_STEP_NUM_TASKS", "1"}}));
  EXPECT_THROW(started_with({{"SLURM_STEP_NUM_TASKS", "8"}}), Error);
}

TEST(World, IsOneRankWithoutALauncher) {
  World world;
  EXPECT_EQ(world.rank(), 0);
  EXPECT_EQ(world.size(), 1);
  EXPECT_EQ(world.local_rank(), 0);
  EXPECT_FALSE(world.host().empty());
  const Fingerprint seed{"seed", "1"};
  EXPECT_NO_THROW(world.require_same({&seed, 1}));
  EXPECT_EQ(world.split("none", -1, 0), nullptr);
  EXPECT_EQ(world.split("self", 0, 0)->size(), 1);
}

TEST(World, RunRanksPassesResultAndErrorOn) {
  EXPECT_EQ(run_ranks({}, [](World&) { return 7; }), 7);
  EXPECT_THROW(run_ranks({}, [](World&) -> int { fail("no"); }), Error);
}

}  // namespace
}  // namespace triax
