// One progress line on standard error for work that takes long: label, share done, rate, time left.
//
// On a terminal the line is rewritten a few times a second; elsewhere (a log file, a batch job) a
// whole line is written every ten seconds, and none for work that is over sooner.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>

namespace triax {

struct ProgressOptions {
  // What is counted: bytes are shown as "1.2 GiB" and "15.3 MiB/s", anything else as "1.2 M <unit>".
  std::string unit = "bytes";
  uint64_t start = 0;  // already done before, by a run that this one resumes; not part of the rate
  std::FILE* stream = nullptr;  // default: standard error
  int terminal = -1;            // 1 rewrite one line, 0 plain lines, -1 ask the stream
  std::chrono::milliseconds line_interval{10000};
  std::chrono::milliseconds rewrite_interval{200};
};

class Progress {
 public:
  // total 0: unknown, no share and no time left are shown.
  Progress(std::string label, uint64_t total, ProgressOptions options = {});
  ~Progress();  // finish()
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Safe from several threads, and cheap: prints only when a line is due.
  void add(uint64_t amount);
  void update(uint64_t done);
  // Text shown at the end of the line, such as "1.2 M documents".
  void note(std::string text);
  // Writes the last line, if any was written before or the stream is a terminal, and ends it.
  void finish();

  // The line as it would be written now.
  std::string line() const;

 private:
  void print_if_due();
  std::string format_line(std::chrono::steady_clock::time_point now) const;

  const std::string label_;
  const uint64_t total_;
  const ProgressOptions options_;
  std::FILE* const stream_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point began_;
  std::atomic<uint64_t> done_;
  std::atomic<int64_t> next_print_ns_;  // since began_
  mutable std::mutex mutex_;
  std::string note_;
  size_t shown_width_ = 0;
  bool printed_ = false;
  bool finished_ = false;
};

}  // namespace triax
