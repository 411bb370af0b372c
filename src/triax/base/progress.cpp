#include "triax/base/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "triax/base/text.h"

namespace triax {
namespace {

using Clock = std::chrono::steady_clock;

int64_t nanoseconds(Clock::duration duration) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
}

std::string format_amount(double amount, const std::string& unit) {
  return unit == "bytes" ? format_bytes(amount) : format_count(amount);
}

}  // namespace

Progress::Progress(std::string label, uint64_t total, ProgressOptions options)
    : label_(std::move(label)),
      total_(total),
      options_(std::move(options)),
      stream_(options_.stream ? options_.stream : stderr),
      terminal_(options_.terminal >= 0 ? options_.terminal == 1 : ::isatty(::fileno(stream_)) == 1),
      began_(Clock::now()),
      done_(options_.start),
      next_print_ns_(nanoseconds(terminal_ ? options_.rewrite_interval : options_.line_interval)) {}

Progress::~Progress() { finish(); }

void Progress::add(uint64_t amount) {
  done_.fetch_add(amount, std::memory_order_relaxed);
  print_if_due();
}

void Progress::update(uint64_t done) {
  done_.store(done, std::memory_order_relaxed);
  print_if_due();
}

void Progress::note(std::string text) {
  const std::lock_guard lock(mutex_);
  note_ = std::move(text);
}

std::string Progress::line() const {
  const std::lock_guard lock(mutex_);
  return format_line(Clock::now());
}

std::string Progress::format_line(Clock::time_point now) const {
  const uint64_t done = done_.load(std::memory_order_relaxed);
  const double seconds = std::chrono::duration<double>(now - began_).count();
  const double rate =
      seconds > 0 ? static_cast<double>(done - std::min(done, options_.start)) / seconds : 0;
  const std::string& unit = options_.unit;
  std::string amount = format_amount(static_cast<double>(done), unit);
  if (total_ > 0) {
    amount = fmt::format("{:.0f}%, {} of {}",
                         std::min(100.0, 100.0 * static_cast<double>(done) / static_cast<double>(total_)),
                         amount, format_amount(static_cast<double>(total_), unit));
  }
  std::string time;
  if (finished_) {
    time = fmt::format(", took {}", format_duration(seconds));
  } else if (total_ > done && rate > 0) {
    time = fmt::format(", {} left", format_duration(static_cast<double>(total_ - done) / rate));
  }
  return fmt::format("{}: {}{}{}, {}/s{}{}{}", label_, amount, unit == "bytes" ? "" : " ",
                     unit == "bytes" ? "" : unit, format_amount(rate, unit), time,
                     note_.empty() ? "" : ", ", note_);
}

void Progress::print_if_due() {
  const auto now = Clock::now();
  const int64_t elapsed = nanoseconds(now - began_);
  int64_t due = next_print_ns_.load(std::memory_order_relaxed);
  if (elapsed < due) return;
  const auto interval = terminal_ ? options_.rewrite_interval : options_.line_interval;
  // Whoever moves the deadline prints; the others go on.
  if (!next_print_ns_.compare_exchange_strong(due, elapsed + nanoseconds(interval))) return;
  const std::lock_guard lock(mutex_);
  if (finished_) return;
  const std::string text = format_line(now);
  if (terminal_) {
    std::fprintf(stream_, "\r%-*s", static_cast<int>(shown_width_), text.c_str());
    shown_width_ = text.size();
  } else {
    std::fprintf(stream_, "%s\n", text.c_str());
  }
  std::fflush(stream_);
  printed_ = true;
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  if (finished_) return;
  finished_ = true;
  if (!printed_ && !terminal_) return;
  const std::string text = format_line(Clock::now());
  std::fprintf(stream_, terminal_ ? "\r%-*s\n" : "%-*s\n",
               terminal_ ? static_cast<int>(shown_width_) : 0, text.c_str());
  std::fflush(stream_);
}

}  // namespace triax
