#include "triax/plan/page.h"

#include <algorithm>

#include "triax/base/text.h"
#include "triax/html/chart.h"
#include "triax/html/page.h"
#include "triax/plan/tables.h"

namespace triax {
namespace {

constexpr const char* kPlanStyle = R"(
.plan path, .plan rect, .swatch rect { stroke: none; }
.plan .grid { stroke: var(--rule); } .plan .limit { stroke: var(--c4); stroke-width: 2; stroke-dasharray: 5 4; }
.b0 { fill: #8fb8f6 !important; } .b1 { fill: #6f9fe8 !important; } .b2 { fill: #2f9e6b !important; } .b3 { fill: #23855a !important; }
.b4 { fill: #b9a23e !important; } .b5 { fill: #a08b2f !important; } .idle { fill: var(--tint); }
.f0 { fill: var(--c0); } .f1 { fill: var(--c1); } .f2 { fill: var(--c2); } .f3 { fill: var(--c3); } .f4 { fill: var(--c5); }
.f5 { fill: var(--rule); } .f6 { fill: var(--c6); } .f7 { fill: var(--c4); } .f8 { fill: var(--c7); } .f9 { fill: var(--soft); }
.swatch { white-space: nowrap; } .swatch svg { vertical-align: -1px; margin-right: 5px; } figure { padding: 12px 16px; margin: 14px 0; }
)";

std::string tiles(const PlanPage& page) {
  const StepPrediction& step = page.best.step;
  const RunForecast& f = page.forecast;
  std::string out = "<div class=\"tiles\">\n";
  out += draw_tile("Step", fmt::format("{:.3g} s", step.seconds), fmt::format("{} tokens/s", format_count(step.tokens_per_second)));
  out += draw_tile("Per device", fmt::format("{:.0f} TF/s", step.tflops_per_device), fmt::format("MFU {:.1f} %", 100 * step.mfu));
  out += draw_tile("Memory", format_bytes(page.best.memory_bytes), fmt::format("of {}", format_bytes(page.hardware.device.memory_bytes)));
  out += draw_tile("Pipeline bubble", fmt::format("{:.1f} %", 100 * step.bubble), "idle share of its time");
  out += draw_tile("Whole run", f.days >= 2 ? fmt::format("{:.1f} days", f.days) : format_duration(f.days * 86400), fmt::format("{} tokens", format_count(f.tokens)));
  out += draw_tile("Device-hours", format_count(f.device_hours), fmt::format("{:.3g} MWh", f.energy_kwh / 1000));
  if (f.money > 0) out += draw_tile("Price", "$" + format_count(f.money), "at the hardware file's price");
  out += draw_tile("Goodput", fmt::format("{:.1f} %", 100 * f.goodput), fmt::format("{:.1f} failures expected", f.failures));
  return out + "</div>\n";
}

std::string preformatted(const std::string& text) { return "<div class=\"card\"><pre>" + escape_html(text) + "</pre></div>\n"; }

std::string list(const std::vector<std::string>& sentences) {
  std::string out = "<div class=\"card\"><ul>\n";
  for (const std::string& s : sentences) out += "<li>" + escape_html(s) + "</li>\n";
  return out + "</ul></div>\n";
}

Series series(const std::string& name, const std::vector<ScalingPoint>& points, int colour, double (*value)(const ScalingPoint&)) {
  Series s{name, {}, {}, colour, false, false, true};
  for (const ScalingPoint& p : points) s.x.push_back(static_cast<double>(p.devices)), s.y.push_back(value(p));
  return s;
}

std::string scaling_charts(const PlanPage& page) {
  if (page.strong.size() < 2) return {};
  Chart speed{.title = "Throughput", .x_label = "devices", .y_label = "tokens per second", .series = {}, .log_x = true, .log_y = true, .width = 520, .height = 280};
  Chart use{.title = "Model FLOP utilisation", .x_label = "devices", .y_label = "%", .series = {}, .log_x = true, .from_zero = true, .width = 520, .height = 280};
  const auto tokens = [](const ScalingPoint& p) { return p.best.step.tokens_per_second; };
  const auto mfu = [](const ScalingPoint& p) { return 100 * p.best.step.mfu; };
  Series ideal{"ideal", {}, {}, 7, false, true, false};
  for (const ScalingPoint& p : page.strong) {
    ideal.x.push_back(static_cast<double>(p.devices));
    ideal.y.push_back(tokens(page.strong[0]) * static_cast<double>(p.devices) / static_cast<double>(page.strong[0].devices));
  }
  speed.series = {series("strong: same batch", page.strong, 0, tokens), series("weak: batch grows", page.weak, 1, tokens), ideal};
  use.series = {series("strong: same batch", page.strong, 0, mfu), series("weak: batch grows", page.weak, 1, mfu)};
  return "<h2>On fewer and more devices</h2>\n<p class=\"lead\">The best grid that fits at each size.</p>\n<div class=\"grid2\">" + draw_svg(speed) + draw_svg(use) +
         "</div>\n" + preformatted("strong scaling\n" + scaling_table(page.strong) + "\nweak scaling\n" + scaling_table(page.weak));
}

}  // namespace

std::string plan_page(const PlanPage& page) {
  const std::string title = fmt::format("{} on {} x {}", page.run, page.best.plan.devices(), page.hardware.device.name);
  const bool fits = page.best.memory_bytes <= page.hardware.device.memory_bytes;
  std::string out = fmt::format("<h1>{}</h1>\n<p class=\"lead\">{} parameters; {}. A prediction.</p>\n", escape_html(title),
                                format_count(static_cast<double>(page.best.plan.model.num_parameters())), escape_html(describe(page.best.plan)));
  if (!fits) out += "<div class=\"card remark\">This does not fit the memory of a device.</div>\n";
  out += tiles(page);
  out += "<h2>Time</h2>\n" + breakdown_svg(page.best.step);
  if (page.best.plan.pipeline_parallel > 1) out += timeline_svg(page.best.plan, simulate_step(page.best.plan, page.hardware));
  out += preformatted(time_table(page.best));
  out += "<h2>Memory</h2>\n" + memory_svg(page.best, page.hardware);
  out += "<h2>Why this grid</h2>\n" + list(page.reasons);
  out += "<h2>The whole run</h2>\n" + preformatted(forecast_table(page.forecast, page.best));
  out += scaling_charts(page);
  return draw_page({.title = title, .body = out, .style = kPlanStyle, .footer = fmt::format("Made by triax plan with the hardware file {}.", page.hardware_name)});
}

std::vector<TracedRank> simulated_trace(const StepPlan& plan, const Hardware& hardware) {
  constexpr TraceCategory kCategories[] = {TraceCategory::forward, TraceCategory::backward, TraceCategory::backward_input, TraceCategory::backward_weight};
  const SimulatedStep step = simulate_step(plan, hardware);
  const StepPrediction whole = predict_step(plan, hardware, Detail::fast);
  std::vector<TracedRank> ranks;
  for (size_t r = 0; r < step.lists.size(); ++r) {
    TracedRank& rank = ranks.emplace_back();
    rank.name = fmt::format("simulated rank {}: pp {}/{}", r * static_cast<size_t>(plan.tensor_parallel * plan.data_parallel), r, step.lists.size());
    double before = 0;
    for (size_t i = 0; i < step.lists[r].size(); ++i) {
      const Action& action = step.lists[r][i];
      const TimeSpan& span = step.simulation.spans[r][i];
      if (action.is_message()) continue;
      if (span.start > before + 1e-9) rank.spans.push_back({.category = TraceCategory::idle, .start = before, .end = span.start});
      rank.spans.push_back({.category = kCategories[static_cast<size_t>(action.kind)], .start = span.start, .end = span.end, .micro_batch = action.micro_batch, .chunk = action.chunk});
      before = span.end;
    }
    double at = steps_interlock(plan.schedule) ? before : step.simulation.makespan;
    if (at > before + 1e-9) rank.spans.push_back({.category = TraceCategory::idle, .start = before, .end = at});
    if (whole.data_seconds > 0) rank.spans.push_back({.category = TraceCategory::data, .start = at, .end = at + whole.data_seconds, .group = "data"});
    at += whole.data_seconds;
    rank.spans.push_back({.category = TraceCategory::optimizer, .start = at, .end = at + whole.optimizer_seconds});
  }
  return ranks;
}

void write_simulated_trace(const std::filesystem::path& path, const StepPlan& plan, const Hardware& hardware) {
  const std::vector<TracedRank> ranks = simulated_trace(plan, hardware);
  std::vector<TraceProcess> processes;
  constexpr int kBesideMeasured = 100000;
  for (size_t r = 0; r < ranks.size(); ++r) processes.push_back({kBesideMeasured + static_cast<int>(r), ranks[r].name, ranks[r].spans});
  write_chrome_trace(path, processes);
}

}  // namespace triax
