// What a training run tells about itself, and metrics.jsonl and samples.jsonl, where it is kept:
// one JSON object a line, as docs/run-directory.md describes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "triax/tensor/gpu_sensors.h"
#include "triax/train/append_file.h"

namespace triax {

// One optimizer step, over all ranks.
struct StepMetrics {
  int64_t step = 0;         // optimizer steps done, this one included: the first is 1
  int64_t total_steps = 0;  // the run ends here; 0 if not known
  double loss = 0;          // mean over the step's target tokens, nats
  double learning_rate = 0;
  double gradient_norm = 0;           // L2, before clipping
  double tokens_per_second = 0;       // of all ranks together
  double model_flops_per_second = 0;  // of all ranks; what the mathematics needs, no recomputation
  double mfu = 0;  // model_flops_per_second / peak of all ranks; 0: peak not known
  double step_seconds = 0;
  int64_t consumed_tokens = 0;  // since the start of training, earlier runs included
  double loss_scale = 0;        // 0: the loss is not scaled
  bool skipped = false;         // gradients overflowed: the weights did not change
  std::optional<GpuFigures> gpu;  // of the first rank, after the step
  std::vector<std::pair<std::string, double>> extra;  // e.g. {"lm_loss", 2.1}, {"order_loss", 0.4}
};

struct ValidationMetrics {
  int64_t step = 0;
  int64_t total_steps = 0;
  double loss = 0;  // mean over all target tokens, nats
  int64_t tokens = 0;
  double seconds = 0;
  int64_t consumed_tokens = 0;  // of training, up to here
  std::vector<std::pair<std::string, double>> extra;

  // exp of the mean loss of guessing tokens: of a BERT that is a part of the loss.
  double perplexity() const;
};

// Text that the model wrote at some step.
struct TextSample {
  int64_t step = 0;
  std::string prompt;
  std::string text;  // what came after the prompt
};

// Appends to a JSON-lines file whose objects have a "step". A run that was resumed after
// `resumed_step` steps first drops the lines of later steps, which it is about to write again, so
// that the file tells one consistent history; 0 starts an empty file.
class JsonLines {
 public:
  JsonLines(const std::filesystem::path& path, int64_t resumed_step);
  void append(const StepMetrics& metrics);
  void append(const ValidationMetrics& metrics);
  void append(const TextSample& sample);

 private:
  AppendFile file_;
};

struct MetricsHistory {
  std::vector<StepMetrics> train;  // total_steps as in the last line
  std::vector<ValidationMetrics> validation;
  int64_t damaged_lines = 0;  // left out
};

// Numbers that JSON cannot hold (NaN, infinities) are null in the file and NaN here. Lines that a
// crash left incomplete are skipped and counted.
MetricsHistory read_metrics(const std::filesystem::path& path);
std::vector<TextSample> read_samples(const std::filesystem::path& path);

}  // namespace triax
