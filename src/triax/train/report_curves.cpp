#include "triax/train/report_curves.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <vector>

#include "triax/html/chart.h"
#include "triax/train/run_figures.h"

namespace triax {
namespace {

// What the x axis counts: steps; tokens where runs with different batches are compared.
struct XAxis {
  std::string label = "step";
  bool tokens = false;
  template <class Metrics>
  double of(const Metrics& m) const {
    return static_cast<double>(tokens ? m.consumed_tokens : m.step);
  }
};

XAxis choose_x(std::span<const RunRecord> runs) {
  std::set<int64_t> tokens_per_step;
  for (const RunRecord& run : runs) {
    if (run.metrics.train.empty() || run.metrics.train.back().consumed_tokens <= 0) return {};
    const StepMetrics& last = run.metrics.train.back();
    tokens_per_step.insert(last.consumed_tokens / std::max<int64_t>(last.step, 1));
  }
  return tokens_per_step.size() > 1 ? XAxis{"tokens", true} : XAxis{};
}

Series train_series(const RunRecord& run, const XAxis& x, std::vector<double> values,
                    const std::string& name, int colour) {
  Series series{name, {}, std::move(values), colour, false, false, false};
  for (const StepMetrics& m : run.metrics.train) series.x.push_back(x.of(m));
  return series;
}

Series validation_series(const RunRecord& run, const XAxis& x, const std::string& name, int colour,
                         bool dashed) {
  Series series{name, {}, {}, colour, false, dashed, run.metrics.validation.size() <= 60};
  for (const ValidationMetrics& m : run.metrics.validation) {
    series.x.push_back(x.of(m));
    series.y.push_back(m.loss);
  }
  return series;
}

Chart loss_chart(std::span<const RunRecord> runs, const XAxis& x) {
  Chart chart;
  chart.title = "Loss";
  chart.x_label = x.label;
  chart.y_label = "cross-entropy per token, nats";
  const bool single = runs.size() == 1;
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunRecord& run = runs[i];
    const int colour = static_cast<int>(i % 8);
    const std::vector<double> loss = column(run, &StepMetrics::loss);
    const double window = smoothing_window(run);
    if (single && window > 1) {
      chart.series.push_back(train_series(run, x, loss, "training, each step", colour));
      chart.series.back().faint = true;
    }
    chart.series.push_back(
        train_series(run, x, smoothed(loss, window),
                     single ? (window > 1 ? "training, smoothed" : "training") : run.name, colour));
    if (run.metrics.validation.empty()) continue;
    chart.series.push_back(validation_series(
        run, x, single ? "validation" : run.name + ", validation", single ? 1 : colour, !single));
  }
  return chart;
}

std::string loss_section(std::span<const RunRecord> runs, const XAxis& x) {
  const Chart whole = loss_chart(runs, x);
  Chart logarithmic = whole, end = whole;
  logarithmic.log_x = logarithmic.log_y = true;
  double last = 0;
  for (const Series& s : whole.series) last = std::max(last, s.x.empty() ? 0 : s.x.back());
  for (Series& s : end.series) {
    const auto cut = std::lower_bound(s.x.begin(), s.x.end(), last / 2) - s.x.begin();
    s.x.erase(s.x.begin(), s.x.begin() + cut);
    s.y.erase(s.y.begin(), s.y.begin() + cut);
  }
  // Radio buttons and a rule of the style sheet: the views change without a script.
  return "<div class=\"switch\"><input type=\"radio\" name=\"loss\" id=\"loss-whole\" checked>"
         "<input type=\"radio\" name=\"loss\" id=\"loss-log\"><input type=\"radio\" name=\"loss\" "
         "id=\"loss-end\">"
         "<span class=\"tabs\"><label for=\"loss-whole\">linear</label><label "
         "for=\"loss-log\">log–log</label>"
         "<label for=\"loss-end\">second half</label></span>\n" +
         draw_svg(whole) + draw_svg(logarithmic) + draw_svg(end) + "</div>\n";
}

// A small chart of one value over all runs; empty if no run has it.
std::string small_chart(std::span<const RunRecord> runs, const XAxis& x, const char* title,
                        const char* unit, bool smooth, double factor,
                        const std::function<double(const StepMetrics&)>& value) {
  Chart chart;
  chart.title = title;
  chart.x_label = x.label;
  chart.y_label = unit;
  chart.from_zero = true;
  chart.width = 520, chart.height = 250;
  bool any = false;
  for (size_t i = 0; i < runs.size(); ++i) {
    std::vector<double> values;
    for (const StepMetrics& m : runs[i].metrics.train) values.push_back(value(m) * factor);
    any = any || std::any_of(values.begin(), values.end(),
                             [](double v) { return std::isfinite(v) && v != 0; });
    const int colour = static_cast<int>(i % 8);
    const double window = smooth ? smoothing_window(runs[i]) : 1;
    chart.series.push_back(train_series(runs[i], x, smoothed(values, window),
                                        runs.size() == 1 ? title : runs[i].name, colour));
    if (window == 1) continue;
    chart.series.push_back(train_series(runs[i], x, std::move(values), "", colour));
    chart.series.back().faint = true;
  }
  return any ? draw_svg(chart) : std::string();
}

std::string extra_charts(std::span<const RunRecord> runs, const XAxis& x) {
  std::set<std::string> names;
  for (const RunRecord& run : runs) {
    for (const StepMetrics& m : run.metrics.train) {
      for (const auto& [name, unused] : m.extra) names.insert(name);
    }
  }
  std::string out;
  for (const std::string& name : names) {
    out += small_chart(runs, x, name.c_str(), "", true, 1, [&](const StepMetrics& m) {
      for (const auto& [key, value] : m.extra) {
        if (key == name) return value;
      }
      return kNoFigure;
    });
  }
  return out;
}

}  // namespace

std::string curves_section(std::span<const RunRecord> runs) {
  const XAxis x = choose_x(runs);
  std::string small = small_chart(runs, x, "Learning rate", "", false, 1,
                                  [](const StepMetrics& m) { return m.learning_rate; });
  small += small_chart(runs, x, "Gradient norm", "L2, before clipping", true, 1,
                       [](const StepMetrics& m) { return m.gradient_norm; });
  small += small_chart(runs, x, "Throughput", "tokens per second", true, 1,
                       [](const StepMetrics& m) { return m.tokens_per_second; });
  small += small_chart(runs, x, "Model FLOP utilisation", "% of the measured peak", true, 100,
                       [](const StepMetrics& m) { return m.mfu; });
  small += small_chart(runs, x, "Loss scale", "", false, 1,
                       [](const StepMetrics& m) { return m.loss_scale; });
  small += small_chart(runs, x, "GPU power", "W", true, 1, [](const StepMetrics& m) { return m.gpu ? m.gpu->power_watts : kNoFigure; });
  small += small_chart(runs, x, "GPU temperature", "degrees Celsius", true, 1,
                       [](const StepMetrics& m) { return m.gpu ? m.gpu->temperature : kNoFigure; });
  return "<h2>Curves</h2>\n" + loss_section(runs, x) + "<div class=\"grid2\">\n" + small +
         extra_charts(runs, x) + "</div>\n";
}

}  // namespace triax
