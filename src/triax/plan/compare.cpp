#include "triax/plan/compare.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/plan/page.h"
#include "triax/train/engine_plan.h"
#include "triax/train/pipeline_record.h"
#include "triax/train/run_directory.h"

namespace triax {
namespace {

// The middle one; 0 of none.
double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double median_step(const RunDirectory& folder) {
  const MetricsHistory history = read_metrics(folder.metrics());
  std::vector<double> seconds;
  for (const StepMetrics& m : history.train)
    if (m.step > 2 && m.step_seconds > 0) seconds.push_back(m.step_seconds);
  check(!seconds.empty(), "{}: no step after the second has a step_seconds", folder.metrics().string());
  return median(seconds);
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

// One micro-batch through each chunk, by kind of computation, in the middle of the step's.
std::string action_rows(const PipelineRecord& record, const SimulatedStep& simulated) {
  std::string out;
  for (size_t r = 0; r < record.ranks.size() && r < simulated.lists.size(); ++r)
    for (int chunk = 0; chunk < record.shape.virtual_pipeline; ++chunk)
      for (const ActionKind kind : {ActionKind::forward, ActionKind::backward, ActionKind::backward_input, ActionKind::backward_weight}) {
        std::vector<double> predicted, measured;
        for (const PipelineSpan& span : record.ranks[r].spans)
          if (span.kind == kind && span.chunk == chunk) measured.push_back(span.end - span.start);
        for (size_t i = 0; i < simulated.lists[r].size(); ++i) {
          const Action& action = simulated.lists[r][i];
          const TimeSpan& span = simulated.simulation.spans[r][i];
          if (action.kind == kind && action.chunk == chunk) predicted.push_back(span.end - span.start);
        }
        const double p = median(predicted), m = median(measured);
        if (m < 1e-3 || p <= 0) continue;  // of a chunk with the head alone the backward is next to nothing
        const std::string where = record.shape.virtual_pipeline > 1 ? fmt::format(", chunk {}", chunk) : "";
        out += row(fmt::format("rank {} {}{}", record.ranks[r].rank, name_of(kind), where), fmt::format("{:.2f} ms", 1e3 * p), fmt::format("{:.2f} ms", 1e3 * m), p / m);
      }
  return out;
}

std::string pipeline_rows(const PipelineRecord& record, const StepPrediction& step, const SimulatedStep& simulated) {
  std::string out;
  for (size_t r = 0; r < record.ranks.size() && r < step.busy.size(); ++r) {
    const PipelineRank& rank = record.ranks[r];
    const double predicted = computing(step.busy[r]), measured = computing(rank);
    if (measured > 0) out += row(fmt::format("rank {} computes", rank.rank), fmt::format("{:.3f} s", predicted), fmt::format("{:.3f} s", measured), predicted / measured);
    if (rank.measured_bytes > 0)
      out += row(fmt::format("rank {} memory", rank.rank), format_bytes(static_cast<double>(rank.predicted_bytes)), format_bytes(static_cast<double>(rank.measured_bytes)),
                 static_cast<double>(rank.predicted_bytes) / static_cast<double>(rank.measured_bytes));
  }
  out += action_rows(record, simulated);
  const PipelineIdle idle = idle_of(record);
  const double after = step.data_seconds + step.optimizer_seconds, rest = record.step_seconds - idle.seconds();
  out += row("exchange, optimizer", fmt::format("{:.3f} s", after), fmt::format("{:.3f} s", rest), after / rest);
  return out + fmt::format("  {:<28} {:>10.1f} % {:>10.1f} %\n", "pipeline bubble", 100 * step.bubble, 100 * idle.bubble);
}

// The plan's account, and what the run had besides: the program itself, a checkpoint being written.
double memory_with_program(const StepPlan& plan, const Hardware& hardware, const MemoryReport& report) {
  const RankMemory planned = predict_memory(plan, hardware)[0];
  const auto holds = [](const std::vector<MemoryUse>& uses, const std::string& purpose) {
    return std::any_of(uses.begin(), uses.end(), [&](const MemoryUse& use) { return use.purpose == purpose; });
  };
  double bytes = 0;
  for (const MemoryUse& use : planned.uses)
    if (use.purpose != "process") bytes += static_cast<double>(use.bytes);
  for (const MemoryUse& use : report.predicted)
    if (!holds(planned.uses, use.purpose)) bytes += static_cast<double>(use.bytes);
  return bytes;
}

StepPlan plan_of_folder(const RunDirectory& directory) {
  RunConfig run;
  ConfigFields(run).load_file(directory.config());
  run.resolve();
  StepPlan plan = plan_of(run);
  if (plan.pipeline_parallel > 1) plan.stage_layers = plan_engine(run.engine(), {}).stage_layers;
  return plan;
}

}  // namespace

std::string compare_with_run(const std::filesystem::path& folder, const Hardware& hardware) {
  const RunDirectory directory{folder};
  const StepPlan plan = plan_of_folder(directory);
  const StepPrediction step = predict_step(plan, hardware);
  const double measured = median_step(directory);
  std::string out = fmt::format("{}: {}\n\n  {:<28} {:>12} {:>12}  {:>9}\n", folder.string(), describe(plan), "", "predicted", "measured", "predicted");
  out += row("step", fmt::format("{:.3f} s", step.seconds), fmt::format("{:.3f} s", measured), step.seconds / measured);
  const double tokens = static_cast<double>(plan.global_batch_size * plan.sequence_length);
  out += row("tokens per second", format_count(step.tokens_per_second), format_count(tokens / measured), measured / step.seconds);
  if (std::filesystem::exists(directory.memory())) {
    const MemoryReport memory = read_memory(directory.memory());
    const double predicted = memory_with_program(plan, hardware, memory), peak = static_cast<double>(memory.peak_resident);
    if (peak > 0) out += row("memory of rank 0", format_bytes(predicted), format_bytes(peak), predicted / peak);
  }
  if (std::filesystem::exists(directory.pipeline())) out += pipeline_rows(read_pipeline(directory.pipeline()), step, simulate_step(plan, hardware));
  return out;
}

void write_compared_trace(const std::filesystem::path& path, const std::filesystem::path& folder, const Hardware& hardware) {
  const RunDirectory directory{folder};
  check(std::filesystem::exists(directory.pipeline()),
        "{}: there is no pipeline.json, which runs of two and more ranks write; of one rank, record output.trace and open it beside "
        "`triax plan config.toml --evaluate --trace FILE`", folder.string());
  const PipelineRecord record = read_pipeline(directory.pipeline());
  const std::vector<TracedRank> simulated = simulated_trace(plan_of_folder(directory), hardware);
  constexpr TraceCategory kCategories[] = {TraceCategory::forward, TraceCategory::backward, TraceCategory::backward_input, TraceCategory::backward_weight};
  const double begin = idle_of(record).begin;
  std::vector<TracedRank> ranks;
  for (size_t r = 0; r < record.ranks.size(); ++r) {
    TracedRank& rank = ranks.emplace_back();
    rank.name = fmt::format("measured rank {}: pp {}/{}", record.ranks[r].rank, r, record.ranks.size());
    double before = 0;
    for (const PipelineSpan& span : record.ranks[r].spans) {
      if (span.kind >= ActionKind::start_send) continue;
      const double start = span.start - begin, end = span.end - begin;
      if (start > before) rank.spans.push_back({.category = TraceCategory::idle, .start = before, .end = start});
      rank.spans.push_back({.category = kCategories[static_cast<size_t>(span.kind)], .start = start, .end = end, .micro_batch = span.micro_batch, .chunk = span.chunk});
      before = end;
    }
    if (r < simulated.size()) ranks.push_back(simulated[r]);
  }
  std::vector<TraceProcess> processes;
  for (const TracedRank& rank : ranks) processes.push_back({static_cast<int>(processes.size()), rank.name, rank.spans});
  write_chrome_trace(path, processes);
}

}  // namespace triax
