// Whole jobs seen from outside: exit status and what is printed, when they go wrong and when not.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "parallel/jobs.h"
#include "triax/base/error.h"
#include "triax/comm/launch.h"
#include "triax/comm/world.h"

namespace triax::test {
namespace {

int wait_forever(World& world, bool arrives) {
  float x = 1;
  const Tensor one(&x, {1}, DType::f32);
  world.communicator().all_reduce(one);
  if (!arrives) std::this_thread::sleep_for(std::chrono::seconds(60));
  world.communicator().all_reduce(one);
  return 0;
}

int receive_what_nobody_sends(World& world) {
  float x = 1;
  const Tensor one(&x, {1}, DType::f32);
  const auto pair = world.split("pair", 0, world.rank());
  if (world.rank() == 0) pair->receive(one, 1, 77);
  pair->barrier();
  return 0;
}

struct Outcome {
  int status = 0;
  std::string text;
  double seconds = 0;
  size_t count(const std::string& phrase) const {
    size_t found = 0;
    for (size_t at = text.find(phrase); at != std::string::npos; at = text.find(phrase, at + 1)) ++found;
    return found;
  }
};

std::string this_program() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

Outcome run_command(const std::string& command) {
  const auto start = std::chrono::steady_clock::now();
  Outcome outcome;
  FILE* pipe = ::popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  while (const size_t length = std::fread(buffer.data(), 1, buffer.size(), pipe)) outcome.text.append(buffer.data(), length);
  outcome.status = WEXITSTATUS(::pclose(pipe));
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

Outcome launch(const std::string& job, int ranks) {
  return run_command(fmt::format("timeout 50 {} -n {} {} --job {} 2>&1", TRIAX_MPIRUN, ranks, this_program(), job));
}

TEST(Jobs, OneRankThrows) {
  const Outcome outcome = launch("one_throws", 3);
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_EQ(outcome.count("triax: error: rank 1 on "), 1u) << outcome.text;
  EXPECT_EQ(outcome.count("key train.steps must be positive"), 1u) << outcome.text;
}

TEST(Jobs, AllRanksThrowAndOneSpeaks) {
  const Outcome outcome = launch("all_throw", 4);
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_EQ(outcome.count("triax: error:"), 1u) << outcome.text;
  EXPECT_EQ(outcome.count("key train.steps must be positive"), 1u) << outcome.text;
}

TEST(Jobs, ARankThatNeverArrivesIsNamed) {
  const Outcome outcome = launch("never_arrives", 3);
  EXPECT_EQ(outcome.status, 3) << outcome.text;
  EXPECT_EQ(outcome.count("in all_reduce 1 (4 B) of group world (ranks 0, 1, 2); it waits for rank 1\n"), 2u) << outcome.text;
  EXPECT_EQ(outcome.count("triax: rank 1 "), 0u) << outcome.text;
  EXPECT_LT(outcome.seconds, 30);
}

TEST(Jobs, WhoWaitsForWhomIsSaid) {
  const Outcome outcome = launch("nobody_sends", 2);
  EXPECT_EQ(outcome.status, 3) << outcome.text;
  EXPECT_EQ(outcome.count("in receive 0 (4 B, tag 77, rank 1) of group pair; it waits for rank 1\n"), 1u) << outcome.text;
  EXPECT_GE(outcome.count("rank 1 is in barrier 0 "), 1u) << outcome.text;
  EXPECT_GE(outcome.count("in barrier 0 (0 B) of group pair (ranks 0, 1); it waits for rank 0\n"), 1u) << outcome.text;
}

TEST(Jobs, AKilledRankEndsTheJob) {
  const Outcome outcome = launch("killed", 3);
  EXPECT_NE(outcome.status, 0);
  EXPECT_NE(outcome.status, 124) << "the job did not end";
  EXPECT_LT(outcome.seconds, 30);
}

TEST(Jobs, AProgramLaunchesItselfOnSeveralRanks) {
  // The launcher of this test has set the threads; here the launched program must.
  const Outcome outcome = run_command(fmt::format("env -u OMP_NUM_THREADS timeout 50 {} --job relaunch 2>&1", this_program()));
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  for (int rank = 0; rank < 3; ++rank)
    EXPECT_EQ(outcome.count(fmt::format("rank {} of 3 with {} threads", rank, std::max(1, this_host().cores / 3))), 1u) << outcome.text;
}

TEST(Jobs, ARankDoesNotLaunchOthers) {
  const Outcome outcome = launch("relaunch", 2);
  EXPECT_NE(outcome.status, 0);
  EXPECT_GE(outcome.count("leave out either --nproc or mpirun"), 1u) << outcome.text;
}

TEST(Jobs, AMissingMpirunIsNamedWithItsPackage) {
  const Outcome outcome = run_command(fmt::format("PATH=/nowhere {} --job relaunch 2>&1", this_program()));
  EXPECT_NE(outcome.status, 0);
  EXPECT_EQ(outcome.count("apt-get install openmpi-bin"), 1u) << outcome.text;
}

}  // namespace

int run_job(const std::string& name) try {
  if (name == "relaunch") relaunch_under_mpirun(3, std::vector<std::string>{"--job", "relaunched"});
  const WorldOptions options{.progress = {.timeout = std::chrono::milliseconds(2000)}};
  return run_ranks(options, [&](World& world) -> int {
    if (name == "one_throws" && world.rank() == 1) fail("key train.steps must be positive");
    if (name == "one_throws") return wait_forever(world, true);
    if (name == "all_throw") fail("key train.steps must be positive");
    if (name == "never_arrives") return wait_forever(world, world.rank() != 1);
    if (name == "nobody_sends") return receive_what_nobody_sends(world);
    if (name == "killed" && world.rank() == 1) ::raise(SIGKILL);
    if (name == "killed") return wait_forever(world, true);
    if (name == "relaunched") {
      std::printf("rank %d of %d with %s threads\n", world.rank(), world.size(), std::getenv("OMP_NUM_THREADS"));
      return 0;
    }
    fail("there is no job {}", name);
  });
} catch (const std::exception& error) {
  std::fprintf(stderr, "triax: error: %s\n", error.what());
  return 1;
}

}  // namespace triax::test
