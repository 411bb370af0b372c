// The folder of a training run, and everything by which the run is seen there and on the console.
// docs/run-directory.md describes the files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "triax/tensor/arena.h"
#include "triax/train/console.h"
#include "triax/train/metrics.h"
#include "triax/train/tensorboard.h"

namespace triax {

// The files of a run.
struct RunDirectory {
  std::filesystem::path path;
  std::filesystem::path config() const { return path / "config.toml"; }
  std::filesystem::path environment() const { return path / "environment.json"; }
  std::filesystem::path memory() const { return path / "memory.json"; }
  std::filesystem::path pipeline() const { return path / "pipeline.json"; }
  std::filesystem::path metrics() const { return path / "metrics.jsonl"; }
  std::filesystem::path samples() const { return path / "samples.jsonl"; }
  std::filesystem::path tensorboard() const { return path / "tensorboard"; }
};

// Facts about where and how a run ran, by name, in the order in which they are shown:
// {"parameters", "124439808"}, {"cpu", "..."}.
using Facts = std::vector<std::pair<std::string, std::string>>;

// What is known without the model: triax version, operating system, CPU, cores, threads, memory,
// date.
Facts machine_facts();

void write_facts(const std::filesystem::path& path, const Facts& facts);
Facts read_facts(const std::filesystem::path& path);

// The memory of one rank: predicted before step 0 (rows), measured at the end (0: not yet).
struct MemoryReport {
  std::vector<MemoryUse> predicted;
  uint64_t peak_resident = 0;
  uint64_t total() const;
};
void write_memory(const std::filesystem::path& path, const MemoryReport& report);
MemoryReport read_memory(const std::filesystem::path& path);

// One for a run, on its first rank: hands every event to the console, metrics.jsonl, samples.jsonl
// and TensorBoard.
class RunRecorder {
 public:
  // Makes the folder and writes config.toml and environment.json. `resumed_step`: the steps done by
  // the run this one continues; 0 starts anew. `tensorboard`: write event files too.
  RunRecorder(RunDirectory directory, int64_t resumed_step, std::string_view config_toml,
              const Facts& facts, Console console, bool tensorboard = true);

  // Before step 0: prints the table. One row should be what the process takes besides the arenas:
  // resident_bytes() before the first of them.
  void memory(std::vector<MemoryUse> predicted);
  void step(const StepMetrics& metrics);
  void validation(const ValidationMetrics& metrics);
  void sample(const TextSample& sample);
  // The end of the run: the measured peak of memory beside the prediction.
  void finish();

  Console& console() { return console_; }
  const RunDirectory& directory() const { return directory_; }

 private:
  RunDirectory directory_;
  JsonLines metrics_, samples_;
  std::optional<TensorBoardWriter> tensorboard_;
  Console console_;
  MemoryReport memory_;
};

}  // namespace triax
