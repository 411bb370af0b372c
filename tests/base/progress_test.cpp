#include "triax/base/progress.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>
#include <vector>

namespace triax {
namespace {

using std::chrono::milliseconds;

// What a Progress writes to its stream while `body` runs.
template <typename Body>
std::string written(uint64_t total, ProgressOptions options, Body&& body) {
  char* data = nullptr;
  size_t size = 0;
  options.stream = ::open_memstream(&data, &size);
  {
    Progress progress("packing", total, options);
    body(progress);
  }
  std::fclose(options.stream);
  std::string text(data, size);
  std::free(data);
  return text;
}

TEST(Progress, SaysShareAmountRateAndTimeLeft) {
  Progress progress("packing", 4 << 20, {.terminal = 0});
  std::this_thread::sleep_for(milliseconds(2));
  progress.update(1 << 20);
  const std::string line = progress.line();
  EXPECT_TRUE(line.starts_with("packing: 25%, 1.0 MiB of 4.0 MiB, ")) << line;
  EXPECT_NE(line.find("iB/s, "), std::string::npos) << line;
  EXPECT_TRUE(line.ends_with(" left")) << line;
}

TEST(Progress, CountsOtherUnitsAndUnknownTotals) {
  Progress progress("training", 0, {.unit = "merges", .terminal = 0});
  progress.add(1500);
  progress.note("vocabulary 300");
  const std::string line = progress.line();
  EXPECT_TRUE(line.starts_with("training: 1.5 k merges, ")) << line;
  EXPECT_TRUE(line.ends_with("/s, vocabulary 300")) << line;
}

TEST(Progress, ShortWorkLeavesNoLineInALog) {
  EXPECT_EQ(written(10, {.terminal = 0}, [](Progress& p) { p.update(10); }), "");
}

TEST(Progress, LogLinesAreWholeLines) {
  const auto text = written(10, {.unit = "files", .terminal = 0, .line_interval = milliseconds(0)},
                            [](Progress& p) { p.update(5), p.update(10); });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << text;
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_NE(text.find("packing: 50%, 5 of 10 files"), std::string::npos) << text;
  EXPECT_NE(text.find("took"), std::string::npos) << text;
}

TEST(Progress, ATerminalLineIsRewrittenAndEnded) {
  const auto text = written(10, {.terminal = 1, .rewrite_interval = milliseconds(0)},
                            [](Progress& p) { p.update(5), p.update(10); });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 3) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_EQ(text.back(), '\n');
}

TEST(Progress, WorkDoneBeforeIsNotPartOfTheRate) {
  Progress progress("resumed", 100, {.unit = "files", .start = 90, .terminal = 0});
  EXPECT_NE(progress.line().find("90%, 90 of 100 files, 0/s"), std::string::npos) << progress.line();
}

TEST(Progress, ThreadsMayAddTogether) {
  Progress progress("threads", 0, {.unit = "steps", .terminal = 0});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) progress.add(1);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(progress.line().starts_with("threads: 4.0 k steps")) << progress.line();
}

}  // namespace
}  // namespace triax
