#include "triax/train/run_trace.h"

#include <charconv>

#include "triax/base/error.h"
#include "triax/comm/clock_offset.h"

namespace triax {

StepRange parse_step_range(const std::string& text) {
  if (text.empty()) return {};
  StepRange range;
  const char* end = text.data() + text.size();
  std::from_chars_result read = std::from_chars(text.data(), end, range.first);
  range.last = range.first;
  if (read.ec == std::errc{} && read.ptr != end && *read.ptr == '-') read = std::from_chars(read.ptr + 1, end, range.last);
  check(read.ec == std::errc{} && read.ptr == end && range.first >= 1 && range.last >= range.first,
        "output.trace = \"{}\" is not a range of steps such as \"10-12\"", text);
  return range;
}

RunTrace::RunTrace(ProcessGrid* grid, StepRange steps) : grid_(grid), steps_(steps) {
  trace_.record_steps(steps.first, steps.last);
  if (grid_) grid_->meter(&trace_);
}

void RunTrace::begin_step(int64_t step) {
  trace_.begin_step(step);
  if (!grid_) return;
  for (MeteredCommunicator* meter : grid_->meters()) meter->reset_volume();
}

void RunTrace::end_step(const Engine& engine, int64_t step, int64_t micro_batches, double seconds) {
  if (trace_.on()) add_computations(trace_, engine.spans());
  trace_.stop();
  step_ = step;
  step_seconds_ = seconds;
  if (grid_ && micro_batches_ != micro_batches)
    expected_ = expected_volume(engine.config(), grid_->at(), static_cast<int>(micro_batches));
  micro_batches_ = micro_batches;
  if (grid_) volumes_ = volume_rows(*grid_, expected_);
}

void RunTrace::finish(const Engine& engine, const RunDirectory& directory, uint64_t predicted, uint64_t measured) {
  const double offset = grid_ ? estimate_clock_offset(grid_->world().communicator()).seconds : 0;
  if (grid_ && step_ > 0)
    write_pipeline_record(engine, directory, offset,
                          {.rank = grid_->world().rank(), .spans = pipeline_spans(engine.spans()),
                           .predicted_bytes = predicted, .measured_bytes = measured, .communication = volumes_});
  if (steps_.last >= steps_.first) write_trace(directory, offset);
}

void RunTrace::write_pipeline_record(const Engine& engine, const RunDirectory& directory, double clock_offset,
                                     PipelineRank mine) const {
  const EngineConfig& config = engine.config();
  PipelineRecord record{.schedule = config.parallel.schedule,
                        .shape = config.pipeline(micro_batches_),
                        .tensor_parallel = grid_->shape().tensor_parallel,
                        .data_parallel = grid_->shape().data_parallel,
                        .step = step_,
                        .step_seconds = step_seconds_,
                        .ranks = gather_pipeline(grid_->pipeline(), mine, clock_offset)};
  if (grid_->world().rank() == 0) write_pipeline(directory.pipeline(), record);
}

void RunTrace::write_trace(const RunDirectory& directory, double clock_offset) const {
  const int ranks = grid_ ? grid_->world().size() : 1, rank = grid_ ? grid_->world().rank() : 0;
  const auto file_of = [&](int r) { return directory.path / fmt::format("trace.rank{}.json", r); };
  const std::string name = grid_ ? fmt::format("rank {}: {}", rank, grid_->to_string()) : "rank 0";
  const TraceProcess process{rank, name, trace_.spans()};
  write_chrome_trace(file_of(rank), {&process, 1});
  std::vector<double> offsets(static_cast<size_t>(ranks), clock_offset);
  if (grid_)
    grid_->world().communicator().all_gather({&clock_offset, {1}, DType::f64}, {offsets.data(), {ranks}, DType::f64});
  if (rank != 0) return;
  std::vector<TraceFile> files;
  for (int r = 0; r < ranks; ++r) files.push_back({file_of(r), offsets[static_cast<size_t>(r)]});
  merge_chrome_traces(files, directory.path / "trace.json");
  for (const TraceFile& file : files) std::filesystem::remove(file.path);
}

}  // namespace triax
