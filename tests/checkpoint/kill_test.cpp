// kill -9 during a save: a child process saves one step after the other; it is killed at a random moment,
// many times over. Whatever moment that was, the newest whole checkpoint loads, is exactly what was saved
// at its step, and is no older than the last save that the child reported as done.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "checkpoint/checkpoint_testing.h"
#include "triax/base/rng.h"
#include "triax/checkpoint/checkpoint.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr int kRanks = 2;

// What rank `rank` holds at a step.
OwnedTensor share(int64_t step, int rank) {
  return testing::counting({64, 16}, static_cast<float>(step * 1000 + rank));
}

// The child: saves two ranks' pieces, prunes, writes one byte to fd 3 for every save.
TEST(KilledSave, DISABLED_Child) {
  const char* root = std::getenv("TRIAX_TEST_KILL_ROOT");
  if (!root) GTEST_SKIP() << "runs only as the child of KilledSave.LosesNothing";
  const auto newest = newest_whole_checkpoint(root);
  for (int64_t step = newest ? newest->step + 1 : 1;; ++step) {
    CheckpointTarget target{root, step, 0, kRanks};
    prepare_checkpoint(target);
    for (target.rank = 0; target.rank < kRanks; ++target.rank) {
      const OwnedTensor tensor = share(step, target.rank);
      const TensorPiece piece{"w", {64, 32}, box_region({0, 16 * target.rank}, {64, 16}), tensor.view()};
      write_checkpoint_pieces(target, std::span(&piece, 1));
    }
    publish_checkpoint(target, "{\"step\":" + std::to_string(step) + "}");
    prune_checkpoints(root, {.last = 2});
    if (::write(3, "s", 1) != 1) return;
  }
}

TEST(KilledSave, LosesNothing) {
  const TemporaryDirectory folder;
  const std::string root = folder.path().string();
  Philox random(3);
  int64_t done = 0, saved = 0;
  int unfinished = 0;
  for (int round = 0; round < 50; ++round) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::dup2(pipe[1], 3);
      ::setenv("TRIAX_TEST_KILL_ROOT", root.c_str(), 1);
      ::execl("/proc/self/exe", "test_checkpoint", "--gtest_filter=KilledSave.DISABLED_Child",
              "--gtest_also_run_disabled_tests", "--gtest_brief=1", static_cast<char*>(nullptr));
      ::_exit(127);
    }
    ::close(pipe[1]);
    // Once it has saved at least one, it has up to 20 ms more.
    char byte = 0;
    ASSERT_EQ(::read(pipe[0], &byte, 1), 1);
    ::usleep(static_cast<useconds_t>(random.next_below(20000)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    saved = 1;
    while (::read(pipe[0], &byte, 1) == 1) ++saved;
    ::close(pipe[0]);

    const auto newest = newest_whole_checkpoint(root);
    ASSERT_TRUE(newest);
    EXPECT_GE(newest->step, done + saved);
    done = newest->step;
    const CheckpointReader reader(newest->path);
    reader.verify();
    EXPECT_EQ(reader.state(), "{\"step\":" + std::to_string(done) + "}");
    for (int rank = 0; rank < kRanks; ++rank) {
      OwnedTensor out({64, 16}, DType::f32);
      reader.read("w", box_region({0, 16 * rank}, {64, 16}), out);
      const OwnedTensor expected = share(done, rank);
      ASSERT_EQ(std::memcmp(out.view().raw(), expected.view().raw(), out.view().bytes()), 0);
    }
    for (const auto& entry : fs::directory_iterator(root)) unfinished += entry.path().string().ends_with(".tmp");
    // Whatever is published is whole: nothing half-written ever has a checkpoint's name.
    for (const CheckpointEntry& entry : list_checkpoints(root)) EXPECT_NO_THROW(check_checkpoint_structure(entry.path));
  }
  EXPECT_GT(unfinished, 10);  // most kills hit a save
}

}  // namespace
}  // namespace triax
