// One rank of a training job is killed at a random moment, of training or of saving, many times over. Started
// again each time, the job ends with the curve of one that was never disturbed, bit for bit. TRIAX_KILLS sets
// how often (./test.sh --grids).
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <vector>

#include "train/tiny_run.h"
#include "triax/base/config.h"
#include "triax/base/file.h"
#include "triax/train/metrics.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr int kRanks = 4;

std::vector<pid_t> children_of(pid_t parent) {
  std::ifstream file("/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) + "/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

pid_t start_job(const fs::path& config, const fs::path& log) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  if (!std::freopen(log.c_str(), "a", stdout) || !std::freopen(log.c_str(), "a", stderr)) ::_exit(126);
  ::execlp(TRIAX_MPIRUN, TRIAX_MPIRUN, "-n", std::to_string(kRanks).c_str(), TRIAX_BINARY, "train", config.c_str(),
           static_cast<char*>(nullptr));
  ::_exit(127);
}

int64_t lines_of(const fs::path& path) {
  std::ifstream file(path);
  return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
}

// Where and when a rank is to be killed: so long after the run has written so many lines of metrics.
struct Kill {
  fs::path metrics;
  int64_t lines = 0;
  useconds_t microseconds = 0;
  size_t victim = 0;
};

// Runs the job, with or without a kill. Returns whether it ended well.
bool run_job_once(const fs::path& config, const fs::path& log, const std::optional<Kill>& kill = {}) {
  const pid_t job = start_job(config, log);
  int status = 0;
  if (kill) {
    while (lines_of(kill->metrics) < kill->lines && ::waitpid(job, &status, WNOHANG) == 0) ::usleep(2000);
    ::usleep(kill->microseconds);
    const std::vector<pid_t> ranks = children_of(job);
    if (!ranks.empty()) ::kill(ranks[kill->victim % ranks.size()], SIGKILL);
  }
  if (::waitpid(job, &status, 0) != job && errno != ECHILD) return false;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Jobs, KilledRunsContinueAsIfNothingHadHappened) {
  const TemporaryDirectory folder("killed-run");
  const char* asked = std::getenv("TRIAX_KILLS");
  const int wanted = asked ? std::atoi(asked) : 2;
  test::write_tiny_dataset(folder.path() / "tokens");
  const auto write_config = [&](const std::string& name) {
    RunConfig config = test::tiny_run(folder.path() / "tokens", folder.path() / name);
    config.train.steps = 60 * std::max(wanted, 4);
    config.train.micro_batch_size = 1;
    config.parallel.tensor_parallel = 2;
    config.parallel.zero_stage = 1;
    config.eval.interval = 0;
    config.checkpoint.interval = 3;
    config.checkpoint.keep = 2;
    config.checkpoint.background = true;
    config.output.tensorboard = false;
    write_file_atomic(folder.path() / (name + ".toml"), ConfigFields(config).print());
    return folder.path() / (name + ".toml");
  };
  const fs::path log = folder.path() / "log", disturbed = write_config("disturbed");
  ASSERT_TRUE(run_job_once(write_config("straight"), log)) << read_file(log);
  Philox random(static_cast<uint64_t>(::getpid()));
  int killed = 0;
  bool finished = false;
  const int64_t steps = 60 * std::max(wanted, 4);
  const fs::path metrics = folder.path() / "disturbed/metrics.jsonl";
  for (int round = 0; round < 2 * wanted && killed < wanted && !finished; ++round) {
    const auto ahead = static_cast<uint64_t>(steps / (wanted + 1));
    const Kill kill{metrics, lines_of(metrics) + 1 + static_cast<int64_t>(random.next_below(ahead)),
                    static_cast<useconds_t>(random.next_below(20000)), random.next_below(kRanks)};
    finished = run_job_once(disturbed, log, kill);
    killed += !finished;
  }
  EXPECT_GE(killed, 1) << "no kill hit the job: " << read_file(log);
  ASSERT_TRUE(finished || run_job_once(disturbed, log)) << read_file(log);
  const MetricsHistory expected = read_metrics(folder.path() / "straight/metrics.jsonl");
  const MetricsHistory made = read_metrics(folder.path() / "disturbed/metrics.jsonl");
  ASSERT_EQ(made.train.size(), expected.train.size());
  for (size_t i = 0; i < made.train.size(); ++i) {
    ASSERT_EQ(made.train[i].step, expected.train[i].step);
    ASSERT_EQ(made.train[i].loss, expected.train[i].loss) << "step " << i + 1;
  }
  fmt::print("{} of {} kills hit the job\n", killed, wanted);
}

}  // namespace
}  // namespace triax
