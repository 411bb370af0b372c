// What a person who watches a run sees: one line a log step, validation lines that stand out, the
// memory table. On a terminal the numbers stand in columns under a header; elsewhere (a file, a
// pipe, a batch job's output) every line says what its numbers are.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "triax/tensor/arena.h"
#include "triax/train/metrics.h"

namespace triax {

class Console {
 public:
  // `terminal`: columns, colours and headers.
  Console(std::FILE* out, bool terminal) : out_(out), terminal_(terminal) {}
  // On standard output, with columns if that is a terminal; NO_COLOR switches colours off.
  static Console standard_output();

  // The best validation loss of the run that this one continues.
  void continue_from(double best_validation_loss) { best_validation_loss_ = best_validation_loss; }

  void step(const StepMetrics& metrics);
  void validation(const ValidationMetrics& metrics);
  void sample(const TextSample& sample);
  // A line of its own, such as "checkpoint runs/a/checkpoints/step-100 (1.2 GiB, 0.8s)".
  void note(std::string_view line);
  void memory_table(std::span<const MemoryUse> uses);
  // At the end: what the process really took, beside what the table said.
  void memory_check(uint64_t predicted, uint64_t measured);

 private:
  void print(std::string_view line, std::string_view colour = {});
  std::FILE* out_;
  bool terminal_, colours_ = true;
  int lines_since_header_ = -1;  // -1: no header yet
  double smoothed_step_seconds_ = 0;
  double best_validation_loss_ = 0;  // 0: none yet
};

// The texts that Console prints, without colours and line end.
std::string step_header(int64_t total_steps);
std::string step_columns(const StepMetrics& metrics, double eta_seconds);
std::string step_sentence(const StepMetrics& metrics, double eta_seconds);
std::string validation_line(const ValidationMetrics& metrics, bool best);
// Rows of purpose, bytes and share, and the total.
std::string format_memory_table(std::span<const MemoryUse> uses);
std::string format_memory_check(uint64_t predicted, uint64_t measured);

// "345 G", "1.23 T": a rate with a metric prefix.
std::string format_rate(double per_second);

}  // namespace triax
