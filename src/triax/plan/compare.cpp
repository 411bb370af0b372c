#include "triax/plan/compare.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/train/engine_plan.h"
#include "triax/train/pipeline_record.h"
#include "triax/train/run_directory.h"

namespace triax {
namespace {

double median_step(const RunDirectory& folder) {
  const MetricsHistory history = read_metrics(folder.metrics());
  std::vector<double> seconds;
  for (const StepMetrics& m : history.train)
    if (m.step > 2 && m.step_seconds > 0) seconds.push_back(m.step_seconds);
  check(!seconds.empty(), "{}: no step after the second has a step_seconds", folder.metrics().string());
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2), seconds.end());
  return seconds[seconds.size() / 2];
}

std::string row(const std::string& what, const std::string& predicted, const std::string& measured, double ratio) {
  return fmt::format("  {:<28} {:>12} {:>12}  {:>+7.1f} %\n", what, predicted, measured, 100 * (ratio - 1));
}

// Seconds a rank computes in the step, waits left out.
double computing(const PipelineRank& rank) {
  double seconds = 0;
  for (const PipelineSpan& span : rank.spans)
    if (span.kind < ActionKind::start_send) seconds += span.end - span.start;
  return seconds;
}

// The exchanges inside a computation are in it in both; blocking messages are not.
double computing(const TimeParts& parts) { return parts.total() - parts.pipeline; }

std::string pipeline_rows(const PipelineRecord& record, const StepPrediction& step) {
  std::string out;
  for (size_t r = 0; r < record.ranks.size() && r < step.busy.size(); ++r) {
    const PipelineRank& rank = record.ranks[r];
    const double predicted = computing(step.busy[r]), measured = computing(rank);
    if (measured > 0) out += row(fmt::format("rank {} computes", rank.rank), fmt::format("{:.3f} s", predicted), fmt::format("{:.3f} s", measured), predicted / measured);
    if (rank.measured_bytes > 0)
      out += row(fmt::format("rank {} memory", rank.rank), format_bytes(static_cast<double>(rank.predicted_bytes)), format_bytes(static_cast<double>(rank.measured_bytes)),
                 static_cast<double>(rank.predicted_bytes) / static_cast<double>(rank.measured_bytes));
  }
  const PipelineIdle idle = idle_of(record);
  return out + fmt::format("  {:<28} {:>10.1f} % {:>10.1f} %\n", "pipeline bubble", 100 * step.bubble, 100 * idle.bubble);
}

}  // namespace

std::string compare_with_run(const std::filesystem::path& folder, const Hardware& hardware) {
  const RunDirectory directory{folder};
  RunConfig run;
  ConfigFields(run).load_file(directory.config());
  run.resolve();
  StepPlan plan = plan_of(run);
  if (plan.pipeline_parallel > 1) plan.stage_layers = plan_engine(run.engine(), {}).stage_layers;
  const StepPrediction step = predict_step(plan, hardware);
  const double measured = median_step(directory);
  std::string out = fmt::format("{}: {}\n\n  {:<28} {:>12} {:>12}  {:>9}\n", folder.string(), describe(plan), "", "predicted", "measured", "predicted");
  out += row("step", fmt::format("{:.3f} s", step.seconds), fmt::format("{:.3f} s", measured), step.seconds / measured);
  const double tokens = static_cast<double>(plan.global_batch_size * plan.sequence_length);
  out += row("tokens per second", format_count(step.tokens_per_second), format_count(tokens / measured), measured / step.seconds);
  if (std::filesystem::exists(directory.memory())) {
    const MemoryReport memory = read_memory(directory.memory());
    const double predicted = predict_memory(plan, hardware)[0].total(), peak = static_cast<double>(memory.peak_resident);
    if (peak > 0) out += row("memory of rank 0", format_bytes(predicted), format_bytes(peak), predicted / peak);
  }
  if (std::filesystem::exists(directory.pipeline())) out += pipeline_rows(read_pipeline(directory.pipeline()), step);
  return out;
}

}  // namespace triax
