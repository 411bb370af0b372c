#include "triax/train/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/text.h"
#include "triax/html/chart.h"
#include "triax/html/page.h"
#include "triax/train/console.h"
#include "triax/train/report_pipeline.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kSampleSteps = 12;  // older samples are left to samples.jsonl

std::string h(std::string_view text) {
  return escape_html(text);
}

// ---- numbers of a run ---------------------------------------------------------------------------

using StepValue = double StepMetrics::*;

std::vector<double> column(const RunRecord& run, StepValue value) {
  std::vector<double> out;
  for (const StepMetrics& m : run.metrics.train) out.push_back(m.*value);
  return out;
}

// The middle value of those that are positive; NaN without any. The first steps, which also warm up
// caches, do not pull it.
double median(std::vector<double> values) {
  std::erase_if(values, [](double v) { return !std::isfinite(v) || v <= 0; });
  if (values.empty()) return kNone;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double smoothing_window(const RunRecord& run) {
  return std::clamp(static_cast<double>(run.metrics.train.size()) / 20, 1.0, 100.0);
}

double final_train_loss(const RunRecord& run) {
  const std::vector<double> loss = smoothed(column(run, &StepMetrics::loss), smoothing_window(run));
  return loss.empty() ? kNone : loss.back();
}

const ValidationMetrics* best_validation(const RunRecord& run) {
  const ValidationMetrics* best = nullptr;
  for (const ValidationMetrics& m : run.metrics.validation) {
    if (std::isfinite(m.loss) && (!best || m.loss < best->loss)) best = &m;
  }
  return best;
}

int64_t last_step(const RunRecord& run) {
  int64_t step = run.metrics.train.empty() ? 0 : run.metrics.train.back().step;
  if (!run.metrics.validation.empty()) step = std::max(step, run.metrics.validation.back().step);
  return step;
}

// Time in steps: those between two lines are taken to be as long as the one that was logged.
double training_seconds(const RunRecord& run) {
  double seconds = 0;
  int64_t before = 0;
  for (const StepMetrics& m : run.metrics.train) {
    if (std::isfinite(m.step_seconds))
      seconds += m.step_seconds * static_cast<double>(std::max<int64_t>(m.step - before, 1));
    before = m.step;
  }
  return seconds;
}

std::string fact(const RunRecord& run, std::string_view name) {
  for (const auto& [key, value] : run.environment) {
    if (key == name) return value;
  }
  return {};
}

std::string rate(double value) {
  return std::isfinite(value) ? format_rate(value) : "–";
}

std::string number(double value, const char* format = "{:.4f}") {
  return std::isfinite(value) ? fmt::format(fmt::runtime(format), value) : "–";
}

std::string count_text(const std::string& digits) {
  const bool plain = !digits.empty() && digits.size() < 19 &&
                     digits.find_first_not_of("0123456789") == std::string::npos;
  return plain ? format_count(std::stod(digits)) : digits;
}

// ---- key facts ----------------------------------------------------------------------------------

struct KeyFact {
  std::string name, value, note;
};

std::vector<KeyFact> key_facts(const RunRecord& run) {
  std::vector<KeyFact> facts;
  const std::vector<StepMetrics>& train = run.metrics.train;
  if (const std::string parameters = fact(run, "parameters"); !parameters.empty()) {
    facts.push_back({"Parameters", count_text(parameters), ""});
  }
  const int64_t total = train.empty() ? 0 : train.back().total_steps;
  facts.push_back({"Steps", fmt::format("{}", last_step(run)),
                   total > last_step(run) ? fmt::format("of {}, unfinished", total) : ""});
  if (!train.empty()) {
    facts.push_back(
        {"Tokens", format_count(static_cast<double>(train.back().consumed_tokens)), ""});
    facts.push_back({"Training loss", number(final_train_loss(run)), "smoothed, at the end"});
  }
  if (!run.metrics.validation.empty()) {
    const double last = run.metrics.validation.back().loss;
    const ValidationMetrics* best = best_validation(run);
    const bool better_before = best && best->loss < last;
    facts.push_back(
        {"Validation loss", number(last),
         better_before ? fmt::format("best {:.4f} at step {}", best->loss, best->step) : ""});
    facts.push_back({"Perplexity", number(run.metrics.validation.back().perplexity(), "{:.2f}"), "of validation"});
  }
  if (!train.empty()) {
    const double flops = median(column(run, &StepMetrics::model_flops_per_second));
    facts.push_back({"Tokens per second",
                     rate(median(column(run, &StepMetrics::tokens_per_second))), "median"});
    const double mfu = median(column(run, &StepMetrics::mfu));
    facts.push_back(
        {"Model FLOP/s", rate(flops),
         std::isfinite(mfu) ? fmt::format("{:.1f}% of the measured peak", 100 * mfu) : "median"});
    facts.push_back({"Training time", format_duration(training_seconds(run)), "in steps"});
  }
  if (run.memory.peak_resident > 0) {
    const auto peak = static_cast<double>(run.memory.peak_resident),
               total_bytes = static_cast<double>(run.memory.total());
    facts.push_back({"Memory at its peak", format_bytes(peak),
                     total_bytes > 0
                         ? fmt::format("predicted {} ({:+.1f}%)", format_bytes(total_bytes),
                                       100 * (peak - total_bytes) / total_bytes)
                         : ""});
  }
  if (run.pipeline) {
    const PipelineIdle idle = idle_of(*run.pipeline);
    facts.push_back({"Pipeline bubble", fmt::format("{:.1f}%", 100 * idle.bubble),
                     fmt::format("published {:.1f}%", 100 * idle.published)});
  }
  return facts;
}

std::string tiles(const RunRecord& run) {
  std::string out = "<div class=\"tiles\">\n";
  for (const KeyFact& f : key_facts(run)) out += draw_tile(f.name, f.value, f.note);
  return out + "</div>\n";
}

std::string facts_table(std::span<const RunRecord> runs) {
  std::vector<std::string> names;
  std::map<std::string, std::vector<std::string>> rows;
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const KeyFact& f : key_facts(runs[i])) {
      auto [row, added] = rows.try_emplace(f.name, runs.size(), "–");
      if (added) names.push_back(f.name);
      row->second[i] = f.value;
    }
  }
  std::string out = "<div class=\"card\"><table><tr><th></th>";
  for (size_t i = 0; i < runs.size(); ++i)
    out += fmt::format("<th class=\"n\"><span class=\"key s{}\">{}</span></th>", i % 8,
                       h(runs[i].name));
  out += "</tr>\n";
  for (const std::string& name : names) {
    out += fmt::format("<tr><td class=\"name\">{}</td>", h(name));
    for (const std::string& value : rows[name])
      out += fmt::format("<td class=\"n\">{}</td>", h(value));
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

// ---- charts -------------------------------------------------------------------------------------

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
      return kNone;
    });
  }
  return out;
}

std::string charts(std::span<const RunRecord> runs) {
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
  small += small_chart(runs, x, "GPU power", "W", true, 1, [](const StepMetrics& m) { return m.gpu ? m.gpu->power_watts : kNone; });
  small += small_chart(runs, x, "GPU temperature", "degrees Celsius", true, 1,
                       [](const StepMetrics& m) { return m.gpu ? m.gpu->temperature : kNone; });
  return "<h2>Curves</h2>\n" + loss_section(runs, x) + "<div class=\"grid2\">\n" + small +
         extra_charts(runs, x) + "</div>\n";
}

// ---- the other sections
// --------------------------------------------------------------------------

std::string memory_section(const RunRecord& run) {
  const double total = static_cast<double>(run.memory.total());
  if (total <= 0) return {};
  std::string out =
      "<h2>Memory</h2>\n<div class=\"card\"><table><tr><th>of a rank, predicted before the first "
      "step</th>"
      "<th class=\"n\">size</th><th class=\"n\">share</th><th></th></tr>\n";
  for (const MemoryUse& use : run.memory.predicted) {
    const double share = 100 * static_cast<double>(use.bytes) / total;
    out += fmt::format(
        "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.1f}%</td><td class=\"middle\">"
        "<div class=\"bar\" style=\"width:{:.1f}%\"></div></td></tr>\n",
        h(use.purpose), format_bytes(static_cast<double>(use.bytes)), share, share);
  }
  out += fmt::format(
      "<tr class=\"total\"><td>total</td><td class=\"n\">{}</td><td></td><td></td></tr>\n",
      format_bytes(total));
  if (run.memory.peak_resident > 0) {
    const auto peak = static_cast<double>(run.memory.peak_resident);
    out += fmt::format(
        "<tr><td>measured at its peak</td><td class=\"n\">{}</td><td "
        "class=\"n\">{:+.1f}%</td><td></td></tr>\n",
        format_bytes(peak), 100 * (peak - total) / total);
  }
  return out + "</table></div>\n";
}

std::string samples_section(const RunRecord& run) {
  if (run.samples.empty()) return {};
  std::map<int64_t, std::string, std::greater<>> steps;
  for (const TextSample& s : run.samples) {
    steps[s.step] +=
        fmt::format("<div class=\"sample\"><mark>{}</mark>{}</div>\n", h(s.prompt), h(s.text));
  }
  std::string out =
      "<h2>Samples</h2>\n<p class=\"lead\">What the model wrote after the marked beginnings.</p>\n";
  size_t shown = 0;
  for (const auto& [step, texts] : steps) {
    if (shown == 0) {
      out += fmt::format("<h3>After step {}</h3>\n{}", step, texts);
    } else if (shown < kSampleSteps) {
      out += fmt::format("<details><summary>After step {}</summary>\n{}</details>\n", step, texts);
    }
    ++shown;
  }
  return out;
}

std::string environment_section(const RunRecord& run) {
  if (run.environment.empty()) return {};
  std::string out = "<h2>Environment</h2>\n<div class=\"card\"><table>\n";
  for (const auto& [name, value] : run.environment) {
    out += fmt::format("<tr><td class=\"name\">{}</td><td class=\"value\">{}</td></tr>\n", h(name),
                       h(value));
  }
  return out + "</table></div>\n";
}

std::string config_section(const RunRecord& run) {
  if (run.config.empty()) return {};
  return fmt::format("<h2>Configuration</h2>\n<div class=\"card\"><pre>{}</pre></div>\n",
                     h(run.config));
}

// "section.key" -> value of the TOML that triax itself printed: one key a line.
std::map<std::string, std::string> config_values(const std::string& toml) {
  std::map<std::string, std::string> values;
  std::string section;
  for (const std::string& line : split(toml, '\n')) {
    if (line.starts_with('[')) section = line.substr(1, line.rfind(']') - 1) + '.';
    const size_t equals = line.find(" = ");
    if (!line.starts_with('[') && !line.starts_with('#') && equals != std::string::npos) {
      values[section + line.substr(0, equals)] = line.substr(equals + 3);
    }
  }
  return values;
}

std::string config_differences(std::span<const RunRecord> runs) {
  std::vector<std::map<std::string, std::string>> values;
  std::set<std::string> keys;
  for (const RunRecord& run : runs) {
    values.push_back(config_values(run.config));
    for (const auto& [key, unused] : values.back()) keys.insert(key);
  }
  std::string rows;
  for (const std::string& key : keys) {
    std::set<std::string> distinct;
    std::string cells;
    for (std::map<std::string, std::string>& config : values) {
      const auto found = config.find(key);
      const std::string value = found == config.end() ? "–" : found->second;
      distinct.insert(value);
      cells += fmt::format("<td class=\"n\">{}</td>", h(value));
    }
    if (distinct.size() > 1)
      rows += fmt::format("<tr><td class=\"name\">{}</td>{}</tr>\n", h(key), cells);
  }
  std::string out =
      "<h2>Differences in configuration</h2>\n<div class=\"card\"><table><tr><th></th>";
  for (size_t i = 0; i < runs.size(); ++i)
    out += fmt::format("<th class=\"n\">{}</th>", h(runs[i].name));
  return rows.empty() ? std::string() : out + "</tr>\n" + rows + "</table></div>\n";
}

// What a reader should know before trusting the numbers; `who` names the run where there are
// several.
std::string remarks(const RunRecord& run, const std::string& who) {
  std::string out;
  const auto remark = [&](const std::string& text) {
    out += fmt::format("<div class=\"card remark\">{}{}</div>\n", h(who), h(text));
  };
  const auto& train = run.metrics.train;
  const auto odd = std::count_if(train.begin(), train.end(),
                                 [](const StepMetrics& m) { return !std::isfinite(m.loss); });
  const auto skipped =
      std::count_if(train.begin(), train.end(), [](const StepMetrics& m) { return m.skipped; });
  if (train.empty()) remark("no training step has been logged yet.");
  if (odd > 0)
    remark(fmt::format("the loss of {} of {} logged steps is not a finite number.", odd,
                       train.size()));
  if (skipped > 0)
    remark(fmt::format("{} logged steps were skipped because gradients overflowed.", skipped));
  std::map<std::string, int64_t> held_back;
  for (const StepMetrics& m : train)
    if (m.gpu && !m.gpu->held_back_by.empty()) ++held_back[m.gpu->held_back_by];
  for (const auto& [reason, steps] : held_back)
    remark(fmt::format("the GPU was held back by {} in {} of {} logged steps.", reason, steps, train.size()));
  if (run.metrics.damaged_lines > 0) {
    remark(
        fmt::format("{} damaged lines of metrics.jsonl were left out.", run.metrics.damaged_lines));
  }
  for (const std::string& text : run.remarks) remark(text);
  return out;
}

std::string lead(const RunRecord& run) {
  std::vector<std::string> parts;
  for (const char* name : {"started", "cpu", "memory"}) {
    if (const std::string value = fact(run, name); !value.empty()) parts.push_back(value);
  }
  if (const std::string threads = fact(run, "threads"); !threads.empty())
    parts.push_back(threads + " threads");
  if (const std::string version = fact(run, "triax"); !version.empty())
    parts.push_back("triax " + version);
  return fmt::format("<p class=\"lead\">{}</p>\n", h(fmt::format("{}", fmt::join(parts, " · "))));
}

std::string other_sections(const RunRecord& run) {
  return (run.pipeline ? pipeline_section(*run.pipeline) : std::string()) + samples_section(run) +
         memory_section(run) + environment_section(run) + config_section(run);
}

std::string single_run(const RunRecord& run) {
  return fmt::format("<h1>{}</h1>\n", h(run.name)) + lead(run) + remarks(run, "") + tiles(run) +
         charts({&run, 1}) + other_sections(run);
}

std::string compared_runs(std::span<const RunRecord> runs) {
  std::string out = fmt::format("<h1>{} runs compared</h1>\n<p class=\"lead\"></p>\n", runs.size());
  for (const RunRecord& run : runs) out += remarks(run, run.name + ": ");
  out += facts_table(runs) + charts(runs) + config_differences(runs);
  for (const RunRecord& run : runs) {
    out += fmt::format("<details><summary>{}: {}samples, memory, environment, configuration</summary>\n{}</details>\n",
                       h(run.name), run.pipeline ? "pipeline, " : "", other_sections(run));
  }
  return out;
}

}  // namespace

RunRecord read_run(const fs::path& folder) {
  const RunDirectory directory{folder};
  check(fs::exists(directory.metrics()),
        "{} holds no metrics.jsonl: it is not the folder of a training run", folder.string());
  RunRecord run;
  run.name = fs::weakly_canonical(folder).filename().string();
  run.metrics = read_metrics(directory.metrics());
  const auto try_read = [&](const fs::path& path, auto&& read) {
    if (!fs::exists(path)) return;
    try {
      read(path);
    } catch (const Error& error) {
      run.remarks.push_back(fmt::format("left out what could not be read: {}", error.what()));
    }
  };
  try_read(directory.config(), [&](const fs::path& path) { run.config = read_file(path); });
  try_read(directory.environment(),
           [&](const fs::path& path) { run.environment = read_facts(path); });
  try_read(directory.memory(), [&](const fs::path& path) { run.memory = read_memory(path); });
  try_read(directory.pipeline(), [&](const fs::path& path) {
    PipelineRecord record = read_pipeline(path);
    idle_of(record);
    run.pipeline = std::move(record);
  });
  try_read(directory.samples(), [&](const fs::path& path) { run.samples = read_samples(path); });
  return run;
}

std::string report_html(std::span<const RunRecord> runs) {
  check(!runs.empty(), "a report needs at least one run");
  const std::string title =
      runs.size() == 1 ? runs[0].name : fmt::format("{} runs compared", runs.size());
  return draw_page({.title = title, .body = runs.size() == 1 ? single_run(runs[0]) : compared_runs(runs), .style = {}, .footer = "Made by triax report."});
}

}  // namespace triax
