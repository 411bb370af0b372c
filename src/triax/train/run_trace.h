// What a run shows of its steps beside its metrics: pipeline.json, the last step of one pipeline for the
// report, and trace.json, some steps of all ranks for Perfetto.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "triax/base/trace.h"
#include "triax/train/engine.h"
#include "triax/train/expected_volume.h"
#include "triax/train/pipeline_record.h"
#include "triax/train/run_directory.h"

namespace triax {

struct StepRange {
  int64_t first = 0, last = -1;
};
// "10-12" or "10"; empty text is no step. Throws Error naming output.trace.
StepRange parse_step_range(const std::string& text);

class RunTrace {
 public:
  // Before the engine: meters the grid, which may be null (one rank). `steps` are traced.
  RunTrace(ProcessGrid* grid, StepRange steps);

  Trace* trace() { return &trace_; }
  void begin_step(int64_t step);
  // `seconds` that the step took.
  void end_step(const Engine& engine, int64_t step, int64_t micro_batches, double seconds);
  // Writes what there is; collective. Memory of this rank: predicted, and measured at its peak.
  void finish(const Engine& engine, const RunDirectory& directory, uint64_t predicted, uint64_t measured);

 private:
  void write_pipeline_record(const Engine& engine, const RunDirectory& directory, double clock_offset,
                             PipelineRank mine) const;
  void write_trace(const RunDirectory& directory, double clock_offset) const;

  ProcessGrid* grid_;
  StepRange steps_;
  Trace trace_;
  int64_t step_ = 0, micro_batches_ = 0;
  double step_seconds_ = 0;
  ExpectedVolume expected_;  // of a step of micro_batches_
  std::vector<VolumeRow> volumes_;
};

}  // namespace triax
