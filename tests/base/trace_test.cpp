#include "triax/base/json.h"
#include "triax/base/trace.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/rng.h"

namespace triax {
namespace {

Json events_of(const std::filesystem::path& path) { return Json::parse(read_file(path), "trace").at("traceEvents"); }

// The events of one kind ("X": spans).
std::vector<Json> events_of(const std::filesystem::path& path, const std::string& phase) {
  std::vector<Json> found;
  for (const Json& event : events_of(path))
    if (event.at("ph") == phase) found.push_back(event);
  return found;
}

TEST(Trace, RecordsTheStepsOfItsRange) {
  Trace trace;
  const auto step = [&](int number) {
    trace.begin_step(number);
    const TraceScope scope(&trace, {.category = TraceCategory::forward, .micro_batch = number});
  };
  step(1);
  EXPECT_TRUE(trace.spans().empty());
  trace.record_steps(3, 4);
  for (int i = 1; i <= 6; ++i) step(i);
  ASSERT_EQ(trace.spans().size(), 2u);
  EXPECT_EQ(trace.spans()[0].micro_batch, 3);
  EXPECT_EQ(trace.spans()[1].micro_batch, 4);
  EXPECT_LE(trace.spans()[0].start, trace.spans()[0].end);
  EXPECT_LE(trace.spans()[0].end, trace.spans()[1].start);
  const TraceScope none(nullptr, {});
}

TEST(Trace, KeepsNoMoreThanItMay) {
  Trace trace(3);
  trace.record_steps(1, 1);
  trace.begin_step(1);
  for (int i = 0; i < 5; ++i) trace.add({});
  EXPECT_EQ(trace.spans().size(), 3u);
  EXPECT_EQ(trace.left_out(), 2);
}

TEST(Trace, KeepsTexts) {
  Trace trace;
  std::string text = "a group with a name too long for the string itself";
  const std::string_view kept = trace.keep(text);
  for (int i = 0; i < 1000; ++i) trace.keep(std::to_string(i));
  text.assign(text.size(), 'x');
  EXPECT_EQ(kept, "a group with a name too long for the string itself");
}

TEST(Trace, WritesWhatPerfettoReads) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "trace.json";
  const std::vector<TraceSpan> spans = {
      {.category = TraceCategory::forward, .start = 1, .end = 1.5, .micro_batch = 3, .chunk = 1},
      {.category = TraceCategory::tensor, .start = 1.1, .end = 1.2000001, .bytes = 4096, .name = "all_reduce", .group = "a \"group\""},
      {.category = TraceCategory::idle, .start = 1.5, .end = 2}};
  write_chrome_trace(path, std::vector<TraceProcess>{{7, "rank 7", spans}});
  const std::vector<Json> found = events_of(path, "X");
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0], Json({{"ph", "X"}, {"cat", "forward"}, {"name", "forward 3"}, {"pid", 7}, {"tid", 0},
                            {"ts", 1e6}, {"dur", 5e5}, {"args", {{"micro_batch", 3}, {"chunk", 1}}}}));
  EXPECT_EQ(found[1], Json({{"ph", "X"}, {"cat", "tensor"}, {"name", "all_reduce"}, {"pid", 7}, {"tid", 1},
                            {"ts", 1.1e6}, {"dur", 100000.1}, {"args", {{"bytes", 4096}, {"group", "a \"group\""}}}}));
  std::map<int, std::string> threads;
  for (const Json& event : events_of(path, "M")) {
    if (event["name"] == "thread_name") threads[static_cast<int>(event["tid"].integer())] = event["args"]["name"].text();
    if (event["name"] == "process_name") {
      EXPECT_EQ(event["args"]["name"], "rank 7");
    }
  }
  EXPECT_EQ(threads, (std::map<int, std::string>{{0, "compute"}, {1, "tensor"}, {4, "idle"}}));
  const std::vector<TraceSpan> never = {{.start = std::nan(""), .end = 1}};
  EXPECT_THROW(write_chrome_trace(path, std::vector<TraceProcess>{{0, "", never}}), Error);
  EXPECT_EQ(events_of(path, "X").size(), 3u) << "a failed write must leave the old file";
}

// Readers take the spans of a thread for a tree: on each, spans must follow or contain each other.
TEST(Trace, SpansOfAThreadNeverOverlapInPart) {
  const TemporaryDirectory folder;
  std::vector<TraceSpan> spans;
  Philox random(1, 2);
  for (int i = 0; i < 400; ++i) {
    const double start = random.next_double() * 10, length = random.next_double();
    spans.push_back({.category = i % 2 ? TraceCategory::send : TraceCategory::forward, .start = start, .end = start + length});
  }
  write_chrome_trace(folder.path() / "t", std::vector<TraceProcess>{{0, "", spans}});
  std::map<int, std::vector<std::pair<int64_t, int64_t>>> threads;
  for (const Json& event : events_of(folder.path() / "t", "X")) {
    const int64_t start = std::llround(event["ts"].number() * 1e3);
    threads[static_cast<int>(event["tid"].integer())].emplace_back(start, start + std::llround(event["dur"].number() * 1e3));
    EXPECT_EQ(event["tid"].integer() % 5, event["cat"] == "send" ? 3 : 0);
  }
  EXPECT_GT(threads.size(), 4u);
  for (const auto& [thread, list] : threads)
    for (size_t i = 0; i < list.size(); ++i)
      for (size_t j = i + 1; j < list.size(); ++j)
        ASSERT_TRUE(list[j].first >= list[i].second || list[j].second <= list[i].second) << thread;
}

TEST(Trace, MergesWithClocksAligned) {
  const TemporaryDirectory folder;
  const auto a = folder.path() / "a", b = folder.path() / "b", merged = folder.path() / "merged";
  // The second rank's clock is 95 s behind; the message arrives 2 ms after it has left.
  const std::vector<TraceSpan> send = {{.category = TraceCategory::send, .start = 100, .end = 100.001, .arrow = ~uint64_t{0}}};
  const std::vector<TraceSpan> receive = {{.category = TraceCategory::receive, .start = 5, .end = 5.002, .arrow = ~uint64_t{0}}};
  write_chrome_trace(a, std::vector<TraceProcess>{{0, "rank 0", send}});
  write_chrome_trace(b, std::vector<TraceProcess>{{1, "rank 1", receive}});
  merge_chrome_traces(std::vector<TraceFile>{{a, 0}, {b, 95}}, merged);
  const std::vector<Json> spans = events_of(merged, "X"), from = events_of(merged, "s"), to = events_of(merged, "f");
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0]["ts"].number(), 0);
  EXPECT_EQ(spans[1]["ts"].number(), 0);
  ASSERT_EQ(from.size(), 1u);
  ASSERT_EQ(to.size(), 1u);
  EXPECT_EQ(from[0]["id"], to[0]["id"]);
  EXPECT_LT(from[0]["id"].integer(), uint64_t{1} << 53);
  EXPECT_EQ(from[0]["ts"].number(), 0);
  EXPECT_NEAR(to[0]["ts"].number(), 1999.999, 1e-6);
  EXPECT_EQ(to[0]["bp"], "e");
}

TEST(Trace, RefusesToMergeWhatIsNoTrace) {
  const TemporaryDirectory folder;
  const auto path = folder.path() / "bad", merged = folder.path() / "merged";
  for (const char* text : {"", "{}", "{\"traceEvents\":3}", "[1]", "[{\"ts\":\"now\"}]", "[{\"ts\":1},", "null"}) {
    write_file_atomic(path, text);
    EXPECT_THROW(merge_chrome_traces(std::vector<TraceFile>{{path, 0}}, merged), Error) << text;
    EXPECT_FALSE(std::filesystem::exists(merged));
  }
  write_file_atomic(path, "[{\"ph\":\"X\",\"ts\":3}]");  // the short form of the format
  merge_chrome_traces(std::vector<TraceFile>{{path, 0}}, merged);
  EXPECT_EQ(events_of(merged, "X").size(), 1u);
}

}  // namespace
}  // namespace triax
