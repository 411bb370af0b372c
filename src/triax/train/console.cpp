#include "triax/train/console.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "triax/base/text.h"

namespace triax {
namespace {

constexpr int kLinesPerHeader = 30;
constexpr std::string_view kDim = "\x1b[2m", kBold = "\x1b[1m", kGreen = "\x1b[1;32m",
                           kCyan = "\x1b[36m", kRed = "\x1b[1;31m", kReset = "\x1b[0m";

int step_width(int64_t total_steps) {
  const std::string digits = std::to_string(std::max<int64_t>(total_steps, 100000));
  return static_cast<int>(2 * digits.size() + 1);
}

std::string step_of_total(int64_t step, int64_t total) {
  return total > 0 ? fmt::format("{}/{}", step, total) : fmt::format("{}", step);
}

std::string percent(double share) {
  return share > 0 && std::isfinite(share) ? fmt::format("{:.1f}%", 100 * share) : "-";
}

std::string loss_scale_note(const StepMetrics& m) {
  std::string note;
  if (m.skipped) note += "  skipped: gradients overflowed";
  if (m.loss_scale != 0) note += fmt::format("  loss scale {:g}", m.loss_scale);
  return note;
}

std::string gpu_note(const StepMetrics& m) {
  if (!m.gpu) return {};
  std::string note = fmt::format("  GPU {:.0f} W {:.0f} C {}", m.gpu->power_watts, m.gpu->temperature,
                                 format_bytes(static_cast<double>(m.gpu->memory_bytes)));
  if (!m.gpu->held_back_by.empty()) note += ", held back by " + m.gpu->held_back_by;
  return note;
}

std::string extra_note(const StepMetrics& m) {
  std::string note;
  for (const auto& [name, value] : m.extra) note += fmt::format("  {} {:.4f}", name, value);
  return note;
}

}  // namespace

std::string format_rate(double value) {
  constexpr std::array<const char*, 6> kUnits = {"", " k", " M", " G", " T", " P"};
  if (!std::isfinite(value)) return "-";
  size_t unit = 0;
  while (std::fabs(value) >= 999.5 && unit + 1 < kUnits.size()) value /= 1000, ++unit;
  const int decimals = std::fabs(value) >= 99.95 ? 0 : std::fabs(value) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, unit == 0 && decimals == 2 ? 1 : decimals, kUnits[unit]);
}

std::string step_header(int64_t total_steps) {
  return fmt::format("{:>{}} {:>9} {:>9} {:>9} {:>9} {:>8} {:>6} {:>8} {:>8}", "step",
                     step_width(total_steps), "loss", "lr", "grad norm", "tokens/s", "FLOP/s",
                     "MFU", "s/step", "ETA");
}

std::string step_columns(const StepMetrics& m, double eta_seconds) {
  return fmt::format("{:>{}} {:>9.4f} {:>9.2e} {:>9.3f} {:>9} {:>8} {:>6} {:>8.3f} {:>8}{}",
                     step_of_total(m.step, m.total_steps), step_width(m.total_steps), m.loss,
                     m.learning_rate, m.gradient_norm, format_rate(m.tokens_per_second),
                     format_rate(m.model_flops_per_second), percent(m.mfu), m.step_seconds,
                     m.total_steps > 0 ? format_duration(eta_seconds) : "-", extra_note(m) + loss_scale_note(m) + gpu_note(m));
}

std::string step_sentence(const StepMetrics& m, double eta_seconds) {
  std::string line = fmt::format(
      "step {}  loss {:.4f}  lr {:.2e}  grad norm {:.3f}  tokens/s {}  FLOP/s {}  MFU {}  s/step "
      "{:.3f}",
      step_of_total(m.step, m.total_steps), m.loss, m.learning_rate, m.gradient_norm,
      format_rate(m.tokens_per_second), format_rate(m.model_flops_per_second), percent(m.mfu),
      m.step_seconds);
  if (m.total_steps > 0) line += "  ETA " + format_duration(eta_seconds);
  return line + extra_note(m) + loss_scale_note(m) + gpu_note(m);
}

std::string validation_line(const ValidationMetrics& m, bool best) {
  std::string line = fmt::format("validation at step {}: loss {:.4f}",
                                 step_of_total(m.step, m.total_steps), m.loss);
  if (m.loss < 50) line += fmt::format(", perplexity {:.2f}", m.perplexity());
  for (const auto& [name, value] : m.extra) line += fmt::format(", {} {:.4f}", name, value);
  line += fmt::format(" ({} tokens in {:.1f}s)", format_count(static_cast<double>(m.tokens)),
                      m.seconds);
  return best ? line + ", the best so far" : line;
}

std::string format_memory_table(std::span<const MemoryUse> uses) {
  double total = 0;
  size_t width = 5;
  for (const MemoryUse& use : uses) {
    total += static_cast<double>(use.bytes);
    width = std::max(width, use.purpose.size());
  }
  std::string out = "memory of a rank\n";
  for (const MemoryUse& use : uses) {
    const auto bytes = static_cast<double>(use.bytes);
    out += fmt::format("  {:<{}}  {:>10}  {:>3.0f}%\n", use.purpose, width, format_bytes(bytes),
                       total > 0 ? 100 * bytes / total : 0.0);
  }
  return out + fmt::format("  {:<{}}  {:>10}", "total", width, format_bytes(total));
}

std::string format_memory_check(uint64_t predicted, uint64_t measured) {
  const auto p = static_cast<double>(predicted), m = static_cast<double>(measured);
  if (measured == 0 || predicted == 0) return fmt::format("memory predicted {}", format_bytes(p));
  return fmt::format("memory at its peak {}, predicted {} ({:+.1f}%)", format_bytes(m),
                     format_bytes(p), 100 * (m - p) / p);
}

Console Console::standard_output() {
  Console console(stdout, ::isatty(STDOUT_FILENO) == 1);
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  console.colours_ = !(no_color && *no_color) && !(term && std::string_view(term) == "dumb");
  return console;
}

void Console::print(std::string_view line, std::string_view colour) {
  if (terminal_ && colours_ && !colour.empty()) {
    fmt::print(out_, "{}{}{}\n", colour, line, kReset);
  } else {
    fmt::print(out_, "{}\n", line);
  }
  std::fflush(out_);
}

void Console::step(const StepMetrics& m) {
  // Steps of the first seconds are slower than the rest; their weight fades within about ten lines.
  smoothed_step_seconds_ = smoothed_step_seconds_ == 0
                               ? m.step_seconds
                               : 0.8 * smoothed_step_seconds_ + 0.2 * m.step_seconds;
  const double eta = static_cast<double>(m.total_steps - m.step) * smoothed_step_seconds_;
  const std::string_view colour = m.skipped || !std::isfinite(m.loss) ? kRed : std::string_view();
  if (!terminal_) return print(step_sentence(m, eta));
  if (lines_since_header_ < 0 || lines_since_header_ >= kLinesPerHeader) {
    print(step_header(m.total_steps), kDim);
    lines_since_header_ = 0;
  }
  print(step_columns(m, eta), colour);
  ++lines_since_header_;
}

void Console::validation(const ValidationMetrics& m) {
  const bool first = best_validation_loss_ == 0;
  const bool best = !first && m.loss < best_validation_loss_;
  if ((first && std::isfinite(m.loss)) || best) best_validation_loss_ = m.loss;
  print(validation_line(m, best), std::isfinite(m.loss) ? kGreen : kRed);
}

void Console::sample(const TextSample& s) {
  print(fmt::format("sample at step {}:", s.step), kCyan);
  // Control characters of generated text must not reach the terminal.
  std::string text = s.prompt + s.text;
  std::replace_if(
      text.begin(), text.end(),
      [](char c) {
        return (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F;
      },
      ' ');
  for (const std::string& line : split(text, '\n')) print("  " + line);
}

void Console::note(std::string_view line) {
  print(line, kDim);
}

void Console::memory_table(std::span<const MemoryUse> uses) {
  const std::string table = format_memory_table(uses);
  const size_t end = table.find('\n');
  print(table.substr(0, end), kBold);
  print(table.substr(end + 1));
}

void Console::memory_check(uint64_t predicted, uint64_t measured) {
  print(format_memory_check(predicted, measured), kBold);
}

}  // namespace triax
