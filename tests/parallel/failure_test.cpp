// Jobs that go wrong, seen from outside: exit status and what is printed.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <cstdio>
#include <thread>

#include "parallel/jobs.h"
#include "triax/base/error.h"
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

Outcome launch(const std::string& job, int ranks) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string command = fmt::format("timeout 50 {} -n {} {} --job {} 2>&1", TRIAX_MPIRUN, ranks, program, job);
  const auto start = std::chrono::steady_clock::now();
  Outcome outcome;
  FILE* pipe = ::popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  while (const size_t length = std::fread(buffer.data(), 1, buffer.size(), pipe)) outcome.text.append(buffer.data(), length);
  outcome.status = WEXITSTATUS(::pclose(pipe));
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

TEST(Failure, OneRankThrows) {
  const Outcome outcome = launch("one_throws", 3);
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_EQ(outcome.count("triax: error: rank 1 on "), 1u) << outcome.text;
  EXPECT_EQ(outcome.count("key train.steps must be positive"), 1u) << outcome.text;
}

TEST(Failure, AllRanksThrowAndOneSpeaks) {
  const Outcome outcome = launch("all_throw", 4);
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_EQ(outcome.count("triax: error:"), 1u) << outcome.text;
  EXPECT_EQ(outcome.count("key train.steps must be positive"), 1u) << outcome.text;
}

TEST(Failure, ARankThatNeverArrivesIsNamed) {
  const Outcome outcome = launch("never_arrives", 3);
  EXPECT_EQ(outcome.status, 3) << outcome.text;
  EXPECT_EQ(outcome.count("in all_reduce 1 (4 B) of group world (ranks 0, 1, 2); it waits for rank 1\n"), 2u) << outcome.text;
  EXPECT_EQ(outcome.count("triax: rank 1 "), 0u) << outcome.text;
  EXPECT_LT(outcome.seconds, 30);
}

TEST(Failure, WhoWaitsForWhomIsSaid) {
  const Outcome outcome = launch("nobody_sends", 2);
  EXPECT_EQ(outcome.status, 3) << outcome.text;
  EXPECT_EQ(outcome.count("in receive 0 (4 B, tag 77, rank 1) of group pair; it waits for rank 1\n"), 1u) << outcome.text;
  EXPECT_GE(outcome.count("rank 1 is in barrier 0 "), 1u) << outcome.text;
  EXPECT_GE(outcome.count("in barrier 0 (0 B) of group pair (ranks 0, 1); it waits for rank 0\n"), 1u) << outcome.text;
}

TEST(Failure, AKilledRankEndsTheJob) {
  const Outcome outcome = launch("killed", 3);
  EXPECT_NE(outcome.status, 0);
  EXPECT_NE(outcome.status, 124) << "the job did not end";
  EXPECT_LT(outcome.seconds, 30);
}

}  // namespace

int run_job(const std::string& name) {
  const WorldOptions options{.progress = {.timeout = std::chrono::milliseconds(2000)}};
  return run_ranks(options, [&](World& world) -> int {
    if (name == "one_throws" && world.rank() == 1) fail("key train.steps must be positive");
    if (name == "one_throws") return wait_forever(world, true);
    if (name == "all_throw") fail("key train.steps must be positive");
    if (name == "never_arrives") return wait_forever(world, world.rank() != 1);
    if (name == "nobody_sends") return receive_what_nobody_sends(world);
    if (name == "killed" && world.rank() == 1) ::raise(SIGKILL);
    if (name == "killed") return wait_forever(world, true);
    fail("there is no job {}", name);
  });
}

}  // namespace triax::test
