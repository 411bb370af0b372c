// What one training step did on every rank of one pipeline, and pipeline.json, where it is kept:
// docs/run-directory.md describes it. `triax report` draws it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "triax/base/trace.h"
#include "triax/comm/communication_volume.h"
#include "triax/pipeline/executor.h"
#include "triax/pipeline/schedule_properties.h"

namespace triax {

// A computation of the step, or a wait for a message. Others need not be recorded.
struct PipelineSpan {
  ActionKind kind = ActionKind::forward;
  int micro_batch = 0, chunk = 0;
  double start = 0, end = 0;  // seconds on a clock common to all ranks
  bool operator==(const PipelineSpan&) const = default;
};

// The computations and waits among what an executor did.
std::vector<PipelineSpan> pipeline_spans(std::span<const ActionSpan> actions);
// The computations among it as spans of the trace.
void add_computations(Trace& trace, std::span<const ActionSpan> actions);

struct PipelineRank {
  int rank = 0;  // in the world
  std::vector<PipelineSpan> spans{};
  uint64_t predicted_bytes = 0, measured_bytes = 0;  // memory; 0: not known
  std::vector<VolumeRow> communication{};
  bool operator==(const PipelineRank&) const = default;
};

// Every rank's part, by stage, on all ranks. Collective over the pipeline group. `clock_offset` is added to
// the times of `mine`, to have those of a clock common to all (comm/clock_offset.h; 0 on one host).
std::vector<PipelineRank> gather_pipeline(Communicator& pipeline, PipelineRank mine, double clock_offset = 0);

struct PipelineRecord {
  ScheduleKind schedule = ScheduleKind::one_f_one_b;
  PipelineShape shape{};
  int tensor_parallel = 1, data_parallel = 1;
  int64_t step = 0;
  double step_seconds = 0;          // of the whole step, with the optimizer
  std::vector<PipelineRank> ranks{};  // by stage
  bool operator==(const PipelineRecord&) const = default;
};

// The idle time of a record: a rank is idle from the first start of a computation on any rank to the
// last end whenever it does not compute.
struct PipelineIdle {
  double begin = 0, end = 0;  // seconds, of the record's clock
  std::vector<double> share;  // per rank
  double bubble = 0;          // mean of the ranks
  ActionTimes times;          // mean of the computations of each kind; communication 0
  double published = 0;       // share of wall time that the formula gives, with these times
  double seconds() const { return end - begin; }
};
// Throws Error if nothing was computed.
PipelineIdle idle_of(const PipelineRecord& record);
// What `published` is: "(p-1)/(v m + p-1)".
std::string published_formula(const PipelineRecord& record);

void write_pipeline(const std::filesystem::path& path, const PipelineRecord& record);
// Throws Error naming the file and what is wrong in it.
PipelineRecord read_pipeline(const std::filesystem::path& path);

}  // namespace triax
