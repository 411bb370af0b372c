#include "triax/train/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/text.h"
#include "triax/html/page.h"
#include "triax/train/console.h"
#include "triax/train/report_curves.h"
#include "triax/train/report_pipeline.h"
#include "triax/train/run_figures.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr size_t kSampleSteps = 12;  // older samples are left to samples.jsonl

std::string h(std::string_view text) {
  return escape_html(text);
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
  if (const std::string parameters = environment_fact(run, "parameters"); !parameters.empty()) {
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

// ---- the other sections -------------------------------------------------------------------------

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
    if (const std::string value = environment_fact(run, name); !value.empty()) parts.push_back(value);
  }
  if (const std::string threads = environment_fact(run, "threads"); !threads.empty())
    parts.push_back(threads + " threads");
  if (const std::string version = environment_fact(run, "triax"); !version.empty())
    parts.push_back("triax " + version);
  return fmt::format("<p class=\"lead\">{}</p>\n", h(fmt::format("{}", fmt::join(parts, " · "))));
}

std::string other_sections(const RunRecord& run) {
  return (run.pipeline ? pipeline_section(*run.pipeline) : std::string()) + samples_section(run) +
         memory_section(run) + environment_section(run) + config_section(run);
}

std::string single_run(const RunRecord& run) {
  return fmt::format("<h1>{}</h1>\n", h(run.name)) + lead(run) + remarks(run, "") + tiles(run) +
         curves_section({&run, 1}) + other_sections(run);
}

std::string compared_runs(std::span<const RunRecord> runs) {
  std::string out = fmt::format("<h1>{} runs compared</h1>\n<p class=\"lead\"></p>\n", runs.size());
  for (const RunRecord& run : runs) out += remarks(run, run.name + ": ");
  out += facts_table(runs) + curves_section(runs) + config_differences(runs);
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
