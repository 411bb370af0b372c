// Trace: what one rank did when, as a file for Perfetto (ui.perfetto.dev) or chrome://tracing. A process
// of the file is a rank, a thread is a track of that rank.
//
// The names of tracks and categories are those of measured and of simulated traces alike, so that both
// load side by side.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace triax {

enum class TraceTrack : uint8_t { compute, tensor, data, pipeline, idle };

enum class TraceCategory : uint8_t {
  forward,          // on the track compute; a micro-batch through one chunk
  backward,         // compute; gradient of input and weights at once
  backward_input,   // compute; gradient of the input only
  backward_weight,  // compute; gradient of the weights only
  optimizer,        // compute
  tensor,           // on tensor: a collective between tensor-parallel ranks
  data,             // on data: a collective between data-parallel ranks, or another that is once a step
  send,             // on pipeline: from start to the end of the wait, so in flight at most as long
  receive,          // on pipeline
  idle,             // on idle: this rank waits and computes nothing
};
inline constexpr int kTraceCategories = 10;

// The name of the enumerator.
std::string_view name_of(TraceTrack track);
std::string_view name_of(TraceCategory category);
TraceTrack track_of(TraceCategory category);

// The texts must outlive the trace: literals, or kept by Trace::keep().
struct TraceSpan {
  TraceCategory category = TraceCategory::forward;
  double start = 0, end = 0;         // seconds, of Trace::now() or since a simulation began
  int micro_batch = -1, chunk = -1;  // -1: not of one
  int64_t bytes = -1;                // -1: moves nothing
  std::string_view name{};           // empty: the category's; shown with the micro-batch, "forward 3"
  std::string_view group{};          // of communication: "tensor"
  uint64_t arrow = 0;                // the same number for the send and the receive of one message; 0: none
};

// Records the spans of one rank. Off until a step of the range begins; then each span is one push_back.
// To be used from one thread.
class Trace {
 public:
  static constexpr size_t kMostSpans = 1 << 20;  // about 90 MB
  explicit Trace(size_t most_spans = kMostSpans) : most_spans_(most_spans) {}
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  // Records steps first ... last.
  void record_steps(int64_t first, int64_t last) { first_ = first, last_ = last; }
  void begin_step(int64_t step) { on_ = first_ <= step && step <= last_; }
  void stop() { on_ = false; }
  bool on() const { return on_; }

  // Seconds of the steady clock, which on one host is the same for all processes.
  static double now();
  // Does nothing when off. When full, warns once and leaves out what comes.
  void add(const TraceSpan& span) {
    if (on_) push(span);
  }

  // What the rank is about to work on, for those that record without knowing (metered_communicator.h).
  void set_place(int micro_batch, int chunk) { micro_batch_ = micro_batch, chunk_ = chunk; }
  int micro_batch() const { return micro_batch_; }
  int chunk() const { return chunk_; }

  // A copy of the text that lives as long as the trace.
  std::string_view keep(std::string_view text) { return *texts_.emplace(text).first; }

  std::span<const TraceSpan> spans() const { return spans_; }
  int64_t left_out() const { return left_out_; }

 private:
  void push(const TraceSpan& span);

  size_t most_spans_;
  int64_t first_ = 0, last_ = -1;
  bool on_ = false;
  int micro_batch_ = -1, chunk_ = -1;
  int64_t left_out_ = 0;
  std::vector<TraceSpan> spans_;
  std::set<std::string> texts_;  // whose nodes stay where they are
};

// Records `span` with the time from here to the end of the block. `trace` may be null.
class TraceScope {
 public:
  TraceScope(Trace* trace, const TraceSpan& span) : trace_(trace && trace->on() ? trace : nullptr) {
    if (!trace_) return;
    span_ = span;
    span_.start = Trace::now();
  }
  ~TraceScope() {
    if (!trace_) return;
    span_.end = Trace::now();
    trace_->add(span_);
  }
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  Trace* trace_;
  TraceSpan span_;
};

struct TraceProcess {
  int id = 0;        // different for all in a file; the rank
  std::string name{};  // "rank 3: tp 0/1, pp 3/4, dp 0/1", "simulated rank 3"
  std::span<const TraceSpan> spans{};
};

// Writes Chrome's JSON trace, atomically. Spans of a track that overlap without one containing the
// other, as messages in flight do, are put on further threads of the same name: "pipeline 2". Arrows go
// from the start of a send to the end of its receive. Throws Error for a time that is not a number.
void write_chrome_trace(const std::filesystem::path& path, std::span<const TraceProcess> processes);

struct TraceFile {
  std::filesystem::path path;
  double clock_offset = 0;  // seconds to add to its times, to have those of the clock common to all
};
// One trace that holds all events of the files and begins at 0. Throws Error naming a file that is not
// a Chrome JSON trace.
void merge_chrome_traces(std::span<const TraceFile> files, const std::filesystem::path& merged);

}  // namespace triax
