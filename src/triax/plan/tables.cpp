#include "triax/plan/tables.h"

#include <algorithm>

#include "triax/base/text.h"

namespace triax {
namespace {

std::string seconds_text(double s) { return s < 0.001 ? fmt::format("{:.1f} us", s * 1e6) : s < 1 ? fmt::format("{:.1f} ms", s * 1e3) : fmt::format("{:.2f} s", s); }

std::string bar(double share, int width = 30) {
  std::string out;
  for (int i = 0; i < static_cast<int>(share * width + 0.5); ++i) out += "█";
  return out;
}

constexpr const char* kRecompute[] = {"none", "selective", "full"};

std::string ranking_row(const Candidate& c, double best) {
  const StepPlan& p = c.plan;
  const bool plain = p.schedule == ScheduleKind::interleaved_1f1b && p.virtual_pipeline == 1;
  const std::string schedule = p.pipeline_parallel == 1 ? "-" : std::string(name_of(plain ? ScheduleKind::one_f_one_b : p.schedule));
  return fmt::format("  {:>3} {:>3} {:>5} {:>3} {:>3}  {:<16} {:<9} {:>4} {:>3}  {:>9} {:>+6.1f} %  {:>6.1f} %  {:>6.1f} %  {:>10}\n", p.tensor_parallel,
                     p.pipeline_parallel, p.data_parallel, p.micro_batch_size, p.virtual_pipeline, schedule,
                     kRecompute[static_cast<size_t>(p.recompute)], p.zero_stage, p.sequence_parallel ? "yes" : "no", seconds_text(c.step.seconds),
                     100 * (c.step.seconds / best - 1), 100 * c.step.mfu, 100 * c.step.bubble, format_bytes(c.memory_bytes));
}

}  // namespace

std::vector<Slice> slices(const StepPrediction& step) {
  TimeParts sum;
  for (const TimeParts& rank : step.busy) sum += rank;
  const TimeParts mean = (1.0 / static_cast<double>(step.busy.size())) * sum;
  std::vector<Slice> all = {{"matrix products", mean.gemm, 0},
                            {"norms, dropout, softmax, sums", mean.memory, 1},
                            {"tensor-parallel exchanges", mean.tensor, 2},
                            {"messages between stages", mean.pipeline, 3},
                            {"host program", mean.host, 6},
                            {"idle in the pipeline", step.pipeline_seconds - mean.total(), 5},
                            {"waiting for the slowest device", step.straggler_seconds, 8},
                            {"gradient exchange", step.data_seconds, 4},
                            {"optimizer", step.optimizer_seconds, 7}};
  std::erase_if(all, [&](const Slice& s) { return s.seconds < 1e-6 * step.seconds; });
  return all;
}

std::string ranking_table(const SearchResult& result, const Hardware& hardware, size_t rows) {
  std::string out = fmt::format("{} grids, {} fit {} a device\n\n", result.considered, result.fitting, format_bytes(hardware.device.memory_bytes));
  out += fmt::format("  {:>3} {:>3} {:>5} {:>3} {:>3}  {:<16} {:<9} {:>4} {:>3}  {:>9} {:>8}  {:>8}  {:>8}  {:>10}\n", "t", "p", "d", "b", "v", "schedule",
                     "recompute", "ZeRO", "sp", "step", "", "MFU", "bubble", "memory");
  const double best = result.ranked[0].step.seconds;
  for (size_t i = 0; i < std::min(rows, result.ranked.size()); ++i) out += ranking_row(result.ranked[i], best);
  if (result.front.size() > 1) {
    out += "\nless memory for more time:\n";
    for (const Candidate& c : result.front) out += ranking_row(c, best);
  }
  return out;
}

std::string time_table(const Candidate& candidate) {
  const StepPrediction& step = candidate.step;
  std::string out;
  for (const Slice& slice : slices(step)) {
    const double share = slice.seconds / step.seconds;
    out += fmt::format("  {:<32} {:>10}  {:>5.1f} %  {}\n", slice.what, seconds_text(slice.seconds), 100 * share, bar(share));
  }
  return out + fmt::format("  {:<32} {:>10}   {:.0f} TFLOP/s a device, MFU {:.1f} %, {} tokens/s\n", "step", seconds_text(step.seconds),
                           step.tflops_per_device, 100 * step.mfu, format_count(step.tokens_per_second));
}

std::string memory_table(const Candidate& candidate, const Hardware& hardware) {
  const std::vector<RankMemory>& ranks = candidate.memory;
  size_t fullest = 0;
  for (size_t r = 1; r < ranks.size(); ++r)
    if (ranks[r].total() > ranks[fullest].total()) fullest = r;
  std::vector<size_t> shown = {0};
  if (ranks.size() > 2) shown.push_back(ranks.size() / 2);
  if (ranks.size() > 1) shown.push_back(ranks.size() - 1);
  if (std::find(shown.begin(), shown.end(), fullest) == shown.end()) shown.insert(shown.begin() + 1, fullest);
  std::vector<std::string> purposes;
  for (const size_t r : shown)
    for (const MemoryUse& use : ranks[r].uses)
      if (std::find(purposes.begin(), purposes.end(), use.purpose) == purposes.end()) purposes.push_back(use.purpose);
  std::string out = fmt::format("  {:<32}", "");
  for (const size_t r : shown) out += fmt::format("{:>12}", fmt::format("stage {}", r));
  out += '\n';
  for (const std::string& purpose : purposes) {
    out += fmt::format("  {:<32}", purpose);
    for (const size_t r : shown) {
      double bytes = 0;
      for (const MemoryUse& use : ranks[r].uses)
        if (use.purpose == purpose) bytes += static_cast<double>(use.bytes);
      out += fmt::format("{:>12}", bytes > 0 ? format_bytes(bytes) : "-");
    }
    out += '\n';
  }
  out += fmt::format("  {:<32}", "total");
  for (const size_t r : shown) out += fmt::format("{:>12}", format_bytes(ranks[r].total()));
  const double limit = hardware.device.memory_bytes;
  return out + fmt::format("   of {}\n", format_bytes(limit));
}

std::string forecast_table(const RunForecast& f, const Candidate& candidate) {
  std::string out;
  const auto row = [&](const char* what, const std::string& value, const std::string& note = "") {
    out += fmt::format("  {:<32} {:>12}  {}\n", what, value, note);
  };
  row("tokens", format_count(f.tokens), fmt::format("{:.0f} steps of {:.2f} s", f.steps, candidate.step.seconds));
  row("wall time", f.days >= 2 ? fmt::format("{:.1f} days", f.days) : format_duration(f.days * 86400),
      fmt::format("{} of it training, goodput {:.1f} %", f.seconds >= 2 * 86400 ? fmt::format("{:.1f} days", f.seconds / 86400) : format_duration(f.seconds), 100 * f.goodput));
  row("device-hours", format_count(f.device_hours));
  row("energy", fmt::format("{:.3g} MWh", f.energy_kwh / 1000));
  if (f.money > 0) row("price", fmt::format("${}", format_count(f.money)));
  row("checkpoint", format_bytes(f.checkpoint_bytes), fmt::format("saved in {}, loaded in {}", seconds_text(f.save_seconds), seconds_text(f.load_seconds)));
  row("failures expected", fmt::format("{:.1f}", f.failures),
      fmt::format("one every {:.1f} hours; save every {}", f.job_mtbf_hours, format_duration(f.save_interval)));
  return out;
}

std::string scaling_table(const std::vector<ScalingPoint>& points) {
  std::string out = fmt::format("  {:>7} {:>7} {:>10} {:>12} {:>8} {:>11}  {}\n", "devices", "batch", "step", "tokens/s", "MFU", "efficiency", "grid");
  for (const ScalingPoint& p : points)
    out += fmt::format("  {:>7} {:>7} {:>10} {:>12} {:>6.1f} % {:>9.1f} %  {}\n", p.devices, p.global_batch_size, seconds_text(p.best.step.seconds),
                       format_count(p.best.step.tokens_per_second), 100 * p.best.step.mfu, 100 * p.efficiency, describe(p.best.plan));
  return out;
}

}  // namespace triax
