// The report of training runs: one HTML page that needs nothing else, opens offline and reads in
// light and dark.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "triax/train/metrics.h"
#include "triax/train/pipeline_record.h"
#include "triax/train/run_directory.h"

namespace triax {

// What a run directory holds; what is missing there is empty here.
struct RunRecord {
  std::string name;  // of the folder
  MetricsHistory metrics;
  std::string config;  // TOML
  Facts environment;
  MemoryReport memory;
  std::vector<TextSample> samples;
  std::optional<PipelineRecord> pipeline;  // in which something was computed
  std::vector<std::string> remarks;  // "samples.jsonl could not be read: ..."
};

// Only metrics.jsonl must be there; Error if it is not. Other files that cannot be read become
// remarks.
RunRecord read_run(const std::filesystem::path& folder);

// The page. Several runs are drawn over each other and their configurations compared.
std::string report_html(std::span<const RunRecord> runs);

}  // namespace triax
