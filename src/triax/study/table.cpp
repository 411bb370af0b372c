#include "triax/study/table.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "triax/base/config.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/text.h"
#include "triax/html/page.h"

namespace triax::study {
namespace {

namespace fs = std::filesystem;

struct Factor {
  const char* name;
  std::string Cell::*level;
};
constexpr std::array<Factor, 4> kFactors = {{{"vocabulary", &Cell::vocabulary}, {"corpus", &Cell::corpus}, {"size", &Cell::size}, {"start", &Cell::start}}};

// The mean over the runs of one number of the scores; absent where a run has it not.
std::optional<double> mean_number(const Json& runs, const char* part, const std::string& name) {
  double sum = 0;
  for (const Json& run : runs) {
    const Json& numbers = run.at(part).at("numbers");
    if (!numbers.contains(name)) return std::nullopt;
    sum += numbers.at(name).number();
  }
  return sum / static_cast<double>(runs.size());
}

std::optional<TaskScore> read_score(const fs::path& folder) {
  const fs::path file = folder / "results.json";
  if (!fs::exists(file)) return std::nullopt;
  const Json json = Json::parse(read_file(file), file.string());
  const char* part = json.contains("test") ? "test" : "dev";
  const Json& runs = json.at("runs");
  TaskScore score{json.at("metric").text(), json.at(part).at("mean").number(), json.at(part).at("deviation").number(), static_cast<int64_t>(runs.size()), {}, {}};
  const std::string prefix = score.metric == "micro F1" ? "micro " : "";
  if (score.metric == prefix + "F1") score.precision = mean_number(runs, part, prefix + "precision"), score.recall = mean_number(runs, part, prefix + "recall");
  return score;
}

std::string words(const std::optional<TaskScore>& score) {
  if (!score) return "-";
  std::string text = score->precision && score->recall ? fmt::format("{:.1f}/{:.1f}/", *score->precision, *score->recall) : "";
  text += fmt::format("{:.1f}", score->mean);
  if (score->seeds > 1) text += fmt::format(" ± {:.1f}", score->deviation);
  return text;
}

// Whether it is the best of its column.
bool is_best(const std::vector<Row>& rows, size_t row, size_t task) {
  const auto& mine = rows[row].scores[task];
  return mine && std::none_of(rows.begin(), rows.end(), [&](const Row& other) { return other.scores[task] && other.scores[task]->mean > mine->mean; });
}

std::string column_name(const std::vector<Row>& rows, size_t task) {
  std::string name = rows.front().cell->tasks[task].task;
  for (const Row& row : rows)
    if (row.scores[task]) return name + (row.scores[task]->precision ? ", P/R/" : ", ") + row.scores[task]->metric;
  return name;
}

using Grid = std::vector<std::vector<std::string>>;

Grid table_of(const std::vector<Row>& rows) {
  Grid grid(1);
  for (const Factor& factor : kFactors) grid[0].emplace_back(factor.name);
  for (size_t t = 0; t < rows.front().scores.size(); ++t) grid[0].push_back(column_name(rows, t));
  for (size_t r = 0; r < rows.size(); ++r) {
    auto& line = grid.emplace_back();
    for (const Factor& factor : kFactors) line.push_back(rows[r].cell->*factor.level);
    for (size_t t = 0; t < rows[r].scores.size(); ++t) line.push_back(words(rows[r].scores[t]) + (is_best(rows, r, t) ? " *" : ""));
  }
  return grid;
}

// The means of each level over its cells.
Grid effects_of(const std::vector<Row>& rows) {
  Grid grid(1, {"factor", "level"});
  for (const TaskResult& task : rows.front().cell->tasks) grid[0].push_back(task.task);
  for (const Factor& factor : kFactors) {
    std::vector<std::string> levels;
    for (const Row& row : rows)
      if (std::find(levels.begin(), levels.end(), row.cell->*factor.level) == levels.end()) levels.push_back(row.cell->*factor.level);
    if (levels.size() < 2) continue;
    for (const std::string& level : levels) {
      auto& line = grid.emplace_back(std::vector<std::string>{factor.name, level});
      for (size_t t = 0; t < rows.front().scores.size(); ++t) {
        double sum = 0;
        int64_t count = 0;
        for (const Row& row : rows)
          if (row.cell->*factor.level == level && row.scores[t]) sum += row.scores[t]->mean, ++count;
        line.push_back(count > 0 ? fmt::format("{:.1f} (of {})", sum / static_cast<double>(count), count) : "-");
      }
    }
  }
  return grid;
}

size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string text_of(const Grid& grid) {
  std::vector<size_t> widths(grid.front().size());
  for (const auto& line : grid)
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width_of(line[i]));
  std::string text;
  for (const auto& line : grid) {
    std::string out;
    for (size_t i = 0; i < line.size(); ++i) out += line[i] + std::string(widths[i] - width_of(line[i]) + 2, ' ');
    out.erase(out.find_last_not_of(' ') + 1);
    text += out + "\n";
  }
  return text;
}

std::string html_of(const Grid& grid, size_t headers) {
  std::string html = "<table><tr>";
  for (const std::string& text : grid.front()) html += "<th>" + escape_html(text) + "</th>";
  html += "</tr>\n";
  for (size_t r = 1; r < grid.size(); ++r) {
    html += "<tr>";
    for (size_t i = 0; i < grid[r].size(); ++i) {
      const std::string text = escape_html(grid[r][i]);
      html += i < headers ? "<th>" + text + "</th>" : text.ends_with('*') ? "<td><b>" + text + "</b></td>" : "<td>" + text + "</td>";
    }
    html += "</tr>\n";
  }
  return html + "</table>\n";
}

}  // namespace

std::vector<Row> read_rows(const StudyPlan& plan) {
  std::vector<Row> rows;
  for (const Cell& cell : plan.cells) {
    Row& row = rows.emplace_back();
    row.cell = &cell;
    for (const TaskResult& task : cell.tasks) row.scores.push_back(read_score(task.folder));
  }
  return rows;
}

std::string text_table(const std::vector<Row>& rows) { return text_of(table_of(rows)); }

std::string text_effects(const std::vector<Row>& rows) {
  const Grid grid = effects_of(rows);
  return grid.size() > 1 ? text_of(grid) : "";
}

std::string study_page(const std::vector<Row>& rows, const StudyPlan& plan, StudyConfig config) {
  const std::string title = fmt::format("Study of {} models", rows.size());
  std::string html = "<h1>" + title + "</h1>\n";
  html += "<p>Means over the seeds of fine-tuning, with their standard deviation; the best of each column in bold.</p>\n" + html_of(table_of(rows), kFactors.size());
  const Grid effects = effects_of(rows);
  if (effects.size() > 1) html += "<h2>What each factor does</h2>\n<p>Mean of all models of a level.</p>\n" + html_of(effects, 2);
  html += "<h2>Reports</h2>\n<ul>\n";
  for (const Row& row : rows)
    for (size_t t = 0; t < row.scores.size(); ++t)
      if (row.scores[t]) {
        const std::string link = fs::relative(row.cell->tasks[t].folder / "report.html", config.output.dir).string();
        html += fmt::format("<li><a href=\"{0}\">{0}</a></li>\n", escape_html(link));
      }
  html += "</ul>\n";
  for (const std::string& note : plan.notes) html += "<p>" + escape_html(note) + "</p>\n";
  html += "<h2>Configuration</h2>\n<pre>" + escape_html(ConfigFields(config).print()) + "</pre>\n";
  return draw_page({.title = title, .body = html, .style = "td, th { padding: .25em .6em }", .footer = "Made by triax study."});
}

std::string study_json(const std::vector<Row>& rows) {
  Json cells = Json::array();
  for (const Row& row : rows) {
    Json cell = Json::object();
    for (const Factor& factor : kFactors) cell[factor.name] = row.cell->*factor.level;
    Json tasks = Json::object();
    for (size_t t = 0; t < row.scores.size(); ++t) {
      const auto& score = row.scores[t];
      if (!score) continue;
      Json json{{"metric", score->metric}, {"mean", score->mean}, {"deviation", score->deviation}, {"seeds", score->seeds}};
      if (score->precision && score->recall) json["precision"] = *score->precision, json["recall"] = *score->recall;
      tasks[row.cell->tasks[t].task] = std::move(json);
    }
    cell["tasks"] = std::move(tasks);
    cells.push_back(std::move(cell));
  }
  return cells.dump(2) + "\n";
}

}  // namespace triax::study
