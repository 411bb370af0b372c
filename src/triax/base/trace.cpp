#include "triax/base/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/log.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr int kTracks = 5;
constexpr std::string_view kBegin = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", kEnd = "\n]}\n";

std::string dump(const Json& json) { return json.dump(); }

// One event a line, with commas between.
class EventWriter {
 public:
  explicit EventWriter(const fs::path& path) : file_(path) { put(kBegin); }
  void add(std::string_view event) {
    if (any_) put(",\n");
    any_ = true;
    put(event);
  }
  void commit() {
    put(kEnd);
    file_.commit();
  }

 private:
  void put(std::string_view text) { file_.write(text.data(), text.size()); }
  FileWriter file_;
  bool any_ = false;
};

// A thread of the file: spans on it follow or contain each other, never overlap in part.
class Lane {
 public:
  bool fits(int64_t start, int64_t end) {
    while (!open_.empty() && open_.back() <= start) open_.pop_back();
    return open_.empty() || end <= open_.back();
  }
  void put(int64_t end) { open_.push_back(end); }

 private:
  std::vector<int64_t> open_;  // ends of the spans that contain the present time, outermost first
};

int64_t nanoseconds(double seconds) {
  check(std::fabs(seconds) < 9e9, "a span of the trace has the time {}", seconds);
  return std::llround(seconds * 1e9);
}

std::string microseconds(int64_t ns) { return fmt::format("{:.3f}", static_cast<double>(ns) * 1e-3); }

std::string metadata(std::string_view what, int process, int thread, const Json& args) {
  return fmt::format(R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{}}})", what, process, thread, dump(args));
}

std::string span_event(const TraceSpan& span, int process, int thread, int64_t start, int64_t end) {
  std::string name(span.name.empty() ? name_of(span.category) : span.name);
  Json args = Json::object();
  if (span.micro_batch >= 0) {
    name += fmt::format(" {}", span.micro_batch);
    args["micro_batch"] = span.micro_batch;
  }
  if (span.chunk >= 0) args["chunk"] = span.chunk;
  if (span.bytes >= 0) args["bytes"] = span.bytes;
  if (!span.group.empty()) args["group"] = span.group;
  return fmt::format(R"({{"ph":"X","cat":"{}","name":{},"pid":{},"tid":{},"ts":{},"dur":{},"args":{}}})",
                     name_of(span.category), dump(name), process, thread, microseconds(start),
                     microseconds(end - start), dump(args));
}

std::string arrow_event(const TraceSpan& span, int process, int thread, int64_t start, int64_t end) {
  const bool begins = span.category == TraceCategory::send;
  // Its end must lie within the span it points at. Numbers above 2^53 would be rounded by readers.
  return fmt::format(R"({{"ph":"{}","cat":"message","name":"message","id":{},"pid":{},"tid":{},"ts":{}{}}})",
                     begins ? "s" : "f", span.arrow & ((uint64_t{1} << 53) - 1), process, thread,
                     microseconds(begins ? start : std::max(start, end - 1)), begins ? "" : R"(,"bp":"e")");
}

void write_process(EventWriter& file, const TraceProcess& process) {
  file.add(metadata("process_name", process.id, 0, {{"name", process.name}}));
  file.add(metadata("process_sort_index", process.id, 0, {{"sort_index", process.id}}));
  // By start, and what contains others before them.
  std::vector<const TraceSpan*> order;
  for (const TraceSpan& span : process.spans) order.push_back(&span);
  std::stable_sort(order.begin(), order.end(), [](const TraceSpan* a, const TraceSpan* b) {
    return a->start != b->start ? a->start < b->start : a->end > b->end;
  });
  std::array<std::vector<Lane>, kTracks> lanes;
  for (const TraceSpan* span : order) {
    const int64_t start = nanoseconds(span->start), end = std::max(start, nanoseconds(span->end));
    const auto track = static_cast<size_t>(track_of(span->category));
    size_t lane = 0;
    while (lane < lanes[track].size() && !lanes[track][lane].fits(start, end)) ++lane;
    const int thread = static_cast<int>(track + kTracks * lane);
    if (lane == lanes[track].size()) {
      lanes[track].emplace_back();
      std::string name(name_of(static_cast<TraceTrack>(track)));
      if (lane > 0) name += fmt::format(" {}", lane + 1);
      file.add(metadata("thread_name", process.id, thread, {{"name", name}}));
      file.add(metadata("thread_sort_index", process.id, thread, {{"sort_index", 1000 * track + lane}}));
    }
    lanes[track][lane].put(end);
    file.add(span_event(*span, process.id, thread, start, end));
    if (span->arrow) file.add(arrow_event(*span, process.id, thread, start, end));
  }
}

void for_each_event(const fs::path& path, const std::function<void(Json&)>& act) {
  Json file = Json::parse_or_null(read_file(path));
  const bool whole = file.is_object() && file.contains("traceEvents");
  Json& events = whole ? file["traceEvents"] : file;
  check(events.is_array(), "{} is not a Chrome trace: no list of events in JSON", path.string());
  for (Json& event : events) {
    const bool sound = event.is_object() && (!event.contains("ts") || event["ts"].is_number());
    check(sound, "{} is not a Chrome trace: an event is {}", path.string(), dump(event).substr(0, 80));
    act(event);
  }
}

}  // namespace

std::string_view name_of(TraceTrack track) {
  constexpr std::array<std::string_view, kTracks> names = {"compute", "tensor", "data", "pipeline", "idle"};
  return names[static_cast<size_t>(track)];
}

std::string_view name_of(TraceCategory category) {
  constexpr std::array<std::string_view, kTraceCategories> names = {
      "forward", "backward", "backward_input", "backward_weight", "optimizer",
      "tensor",  "data",     "send",           "receive",         "idle"};
  return names[static_cast<size_t>(category)];
}

TraceTrack track_of(TraceCategory category) {
  switch (category) {
    case TraceCategory::tensor: return TraceTrack::tensor;
    case TraceCategory::data: return TraceTrack::data;
    case TraceCategory::send:
    case TraceCategory::receive: return TraceTrack::pipeline;
    case TraceCategory::idle: return TraceTrack::idle;
    default: return TraceTrack::compute;
  }
}

double Trace::now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Trace::push(const TraceSpan& span) {
  if (spans_.size() < most_spans_) {
    spans_.push_back(span);
  } else if (left_out_++ == 0) {
    log_warning("the trace is full: only its first {} spans are kept; trace fewer steps", most_spans_);
  }
}

void write_chrome_trace(const fs::path& path, std::span<const TraceProcess> processes) {
  EventWriter file(path);
  for (const TraceProcess& process : processes) write_process(file, process);
  file.commit();
}

void merge_chrome_traces(std::span<const TraceFile> files, const fs::path& merged) {
  double first = std::numeric_limits<double>::infinity();  // microseconds of the common clock
  const auto time_of = [](const Json& event, const TraceFile& file) {
    return event["ts"].number() + file.clock_offset * 1e6;
  };
  for (const TraceFile& file : files)
    for_each_event(file.path, [&](Json& event) {
      if (event.contains("ts")) first = std::min(first, time_of(event, file));
    });
  EventWriter output(merged);
  for (const TraceFile& file : files)
    for_each_event(file.path, [&](Json& event) {
      if (event.contains("ts")) event["ts"] = std::round((time_of(event, file) - first) * 1e3) / 1e3;
      output.add(dump(event));
    });
  output.commit();
}

}  // namespace triax
