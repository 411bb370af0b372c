// A trace of all ranks, from recording to one merged file.
#include "triax/base/json.h"
#include "triax/base/trace.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <optional>

#include "parallel/ranks.h"
#include "triax/base/file.h"
#include "triax/comm/clock_offset.h"
#include "triax/comm/metered_communicator.h"

namespace triax {
namespace {

using test::world;

// A folder that all ranks see; rank 0 removes it.
class SharedFolder {
 public:
  SharedFolder() {
    if (world().rank() == 0) own_.emplace();
    std::string path = own_ ? own_->path().string() : "";
    path.resize(4096);
    world().communicator().broadcast({path.data(), {static_cast<int64_t>(path.size())}, DType::u8}, 0);
    path_ = path.c_str();
  }
  ~SharedFolder() { world().communicator().barrier(); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::optional<TemporaryDirectory> own_;
  std::filesystem::path path_;
};

// A number goes around all ranks, and everyone adds to it for a while.
void go_around(Communicator& group, Trace& trace) {
  const int n = group.size(), rank = group.rank();
  float x = 0;
  const Tensor message(&x, {1}, DType::f32);
  for (int micro_batch = 0; micro_batch < 3; ++micro_batch) {
    trace.set_place(micro_batch, 0);
    if (rank > 0) group.receive(message, rank - 1, micro_batch);
    {
      const TraceScope scope(&trace, {.category = TraceCategory::forward, .micro_batch = micro_batch});
      for (const double end = Trace::now() + 1e-3; Trace::now() < end;) x += 1;
    }
    if (rank + 1 < n) group.send(message, rank + 1, micro_batch);
  }
}

TEST(TraceOfAllRanks, ArrowsLeadFromSendToReceive) {
  Communicator& plain = world().communicator();
  const SharedFolder folder;
  Trace trace;
  trace.record_steps(1, 1);
  MeteredCommunicator group(plain, {.group = "pipeline", .trace = &trace});
  trace.begin_step(1);
  go_around(group, trace);
  trace.stop();
  const auto file_of = [&](int rank) { return folder / ("rank-" + std::to_string(rank) + ".json"); };
  write_chrome_trace(file_of(plain.rank()), std::vector<TraceProcess>{{plain.rank(), "rank", trace.spans()}});
  ClockOffset clock = estimate_clock_offset(plain);
  double uncertainty = clock.uncertainty;
  plain.all_reduce({&uncertainty, {1}, DType::f64}, ReduceOp::max);
  std::vector<double> offsets(static_cast<size_t>(plain.size()));
  plain.all_gather({&clock.seconds, {1}, DType::f64}, {offsets.data(), {plain.size()}, DType::f64});
  if (plain.rank() > 0) return;

  std::vector<TraceFile> files;
  for (int rank = 0; rank < plain.size(); ++rank) files.push_back({file_of(rank), offsets[static_cast<size_t>(rank)]});
  merge_chrome_traces(files, folder / "trace.json");
  std::map<uint64_t, Json> begins, ends;
  int forwards = 0;
  const Json merged = Json::parse(read_file(folder / "trace.json"), "trace");
  for (const Json& event : merged["traceEvents"]) {
    forwards += event["ph"] == "X" && event["cat"] == "forward";
    if (event["ph"] == "s") begins[event["id"].count()] = event;
    if (event["ph"] == "f") ends[event["id"].count()] = event;
  }
  EXPECT_EQ(forwards, 3 * plain.size());
  ASSERT_EQ(begins.size(), static_cast<size_t>(3 * (plain.size() - 1)));
  ASSERT_EQ(ends.size(), begins.size());
  for (const auto& [id, from] : begins) {
    const Json& to = ends.at(id);
    EXPECT_EQ(to["pid"].integer(), from["pid"].integer() + 1);
    EXPECT_GT(to["ts"].number(), from["ts"].number() - 2e6 * uncertainty);
  }
}

}  // namespace
}  // namespace triax
