#include <fmt/core.h>

#include <algorithm>

#include "triax/base/config.h"
#include "triax/base/json.h"
#include "triax/base/text.h"
#include "triax/finetune/tuner.h"
#include "triax/html/chart.h"
#include "triax/html/page.h"
#include "triax/tasks/records.h"

namespace triax::finetune {
namespace {

// A number of every seed's score, in the order of the first seed.
struct Row {
  std::string name;
  std::vector<double> values;
};

std::vector<Row> rows_of(const TuningResult& result, const Score SeedResult::*which) {
  std::vector<Row> rows;
  for (const auto& [name, unused] : (result.seeds.front().*which).numbers) {
    Row row{name, {}};
    for (const SeedResult& seed : result.seeds)
      for (const auto& [other, value] : (seed.*which).numbers)
        if (other == name) row.values.push_back(value);
    rows.push_back(std::move(row));
  }
  return rows;
}

// The seed with the best dev score: whose matrix and mistakes are shown.
const SeedResult& best_seed(const TuningResult& result) {
  return *std::max_element(result.seeds.begin(), result.seeds.end(), [](const SeedResult& a, const SeedResult& b) { return a.dev.value < b.dev.value; });
}

std::string text_table(const TuningResult& result, const Score SeedResult::*which) {
  std::string text;
  for (const Row& row : rows_of(result, which)) {
    const Spread s = spread_of(row.values);
    text += fmt::format("  {:<22} {:>8.2f}", row.name, s.mean);
    if (row.values.size() > 1) text += fmt::format(" ± {:.2f}  ({} seeds)", s.deviation, row.values.size());
    text += "\n";
  }
  return text;
}

std::string html_table(const TuningResult& result, const Score SeedResult::*which) {
  std::string html = "<div class=\"card\"><table><tr><th></th>";
  for (const SeedResult& seed : result.seeds) html += fmt::format("<th>seed {}</th>", seed.seed);
  html += "<th>mean</th><th>deviation</th></tr>\n";
  for (const Row& row : rows_of(result, which)) {
    html += "<tr><th>" + escape_html(row.name) + "</th>";
    for (const double v : row.values) html += fmt::format("<td>{:.2f}</td>", v);
    const Spread s = spread_of(row.values);
    html += fmt::format("<td>{:.2f}</td><td>{:.2f}</td></tr>\n", s.mean, s.deviation);
  }
  return html + "</table></div>\n";
}

std::string score_tile(const char* name, const TuningResult& result, const Score SeedResult::*which) {
  std::vector<double> values;
  for (const SeedResult& seed : result.seeds) values.push_back((seed.*which).value);
  const Spread s = spread_of(values);
  const std::string note = values.size() > 1 ? fmt::format("± {:.2f} over {} seeds", s.deviation, values.size()) : "one seed";
  return draw_tile(name + std::string(": ") + (result.seeds.front().*which).metric, fmt::format("{:.2f}", s.mean), note);
}

std::string html_matrix(const tasks::ConfusionMatrix& matrix) {
  const auto& names = matrix.labels().names();
  std::string html = "<div class=\"card\"><table class=\"confusion\"><tr><th>is \\ was taken for</th>";
  for (const std::string& name : names) html += "<th>" + escape_html(name) + "</th>";
  html += "<th>precision</th><th>recall</th><th>F1</th></tr>\n";
  for (int64_t i = 0; i < matrix.labels().size(); ++i) {
    const tasks::Counts c = matrix.of_class(i);
    html += "<tr><th>" + escape_html(names[static_cast<size_t>(i)]) + "</th>";
    for (int64_t j = 0; j < matrix.labels().size(); ++j) {
      const double share = c.gold > 0 ? static_cast<double>(matrix.at(i, j)) / static_cast<double>(c.gold) : 0;
      html += fmt::format("<td style=\"background:rgba({},{:.2f})\">{}</td>", i == j ? "40,140,80" : "200,60,40", 0.75 * share, matrix.at(i, j));
    }
    html += fmt::format("<td>{:.2f}</td><td>{:.2f}</td><td>{:.2f}</td></tr>\n", 100 * c.precision(), 100 * c.recall(), 100 * c.f1());
  }
  return html + "</table></div>\n";
}

std::string html_mistakes(const Score& score) {
  constexpr size_t kShown = 30, kLongest = 600;
  std::string html = fmt::format("<p>{} records are wrong; the {} of which the model was most certain:</p>\n<div class=\"card\"><table class=\"mistakes\">"
                                 "<tr><th>record</th><th>text</th><th>is</th><th>was taken for</th><th>certainty</th></tr>\n",
                                 score.mistakes.size(), std::min(kShown, score.mistakes.size()));
  for (size_t i = 0; i < std::min(kShown, score.mistakes.size()); ++i) {
    const Mistake& m = score.mistakes[i];
    html += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.3f}</td></tr>\n", escape_html(m.id), escape_html(tasks::excerpt(m.text, kLongest)),
                        escape_html(tasks::excerpt(m.gold, kLongest)), escape_html(tasks::excerpt(m.predicted, kLongest)), m.confidence);
  }
  return html + "</table></div>\n";
}

std::string curve(const TuningResult& result, const std::string& title, double EpochRecord::*value) {
  Chart chart{.title = title, .x_label = "epoch", .y_label = title, .series = {}, .width = 520, .height = 280};
  for (const SeedResult& seed : result.seeds) {
    Series series{.name = fmt::format("seed {}", seed.seed), .x = {}, .y = {}, .colour = static_cast<int>(chart.series.size() % 8), .dots = true};
    for (const EpochRecord& e : seed.epochs) series.x.push_back(static_cast<double>(e.epoch)), series.y.push_back(e.*value);
    chart.series.push_back(std::move(series));
  }
  return draw_svg(chart);
}

Json json_of(const Score& score) {
  Json json = {{"metric", score.metric}, {"value", score.value}};
  for (const auto& [name, value] : score.numbers) json["numbers"][name] = value;
  return json;
}

}  // namespace

std::string summary(const TuningResult& result) {
  std::string text = "dev\n" + text_table(result, &SeedResult::dev);
  if (!result.config.data.test.empty()) text += "test\n" + text_table(result, &SeedResult::test);
  return text;
}

std::string results_json(const TuningResult& result) {
  Json runs = Json::array();
  std::vector<double> dev, test;
  for (const SeedResult& seed : result.seeds) {
    Json run = {{"seed", seed.seed}, {"best_epoch", seed.best_epoch}, {"dev", json_of(seed.dev)}};
    dev.push_back(seed.dev.value);
    if (!seed.test.metric.empty()) run["test"] = json_of(seed.test), test.push_back(seed.test.value);
    for (const EpochRecord& e : seed.epochs)
      run["epochs"].push_back({{"epoch", e.epoch}, {"loss", e.loss}, {"dev", e.dev}, {"seconds", e.seconds}, {"tokens_per_second", e.tokens_per_second}});
    runs.push_back(std::move(run));
  }
  Json json = {{"task", task_name(result.kind)}, {"metric", result.seeds.front().dev.metric}};
  json["dev"] = {{"mean", spread_of(dev).mean}, {"deviation", spread_of(dev).deviation}};
  if (!test.empty()) json["test"] = {{"mean", spread_of(test).mean}, {"deviation", spread_of(test).deviation}};
  json["runs"] = runs;
  return json.dump(2) + "\n";
}

std::string tuning_report(const TuningResult& result) {
  FinetuneConfig config = result.config;
  const SeedResult& best = best_seed(result);
  const bool tested = !config.data.test.empty();
  const Score& shown = tested ? best.test : best.dev;
  const std::string title = fmt::format("Fine-tuning for {}", task_name(result.kind));
  std::string html = fmt::format("<h1>{}</h1>\n<p class=\"lead\">{}, tuned with {}</p>\n", title, escape_html(config.model.path), escape_html(config.data.train));
  html += "<div class=\"tiles\">\n" + score_tile("Dev", result, &SeedResult::dev) + (tested ? score_tile("Test", result, &SeedResult::test) : "");
  html += draw_tile("Best epoch", fmt::format("{} of {}", best.best_epoch, best.epochs.size()), fmt::format("seed {}", best.seed)) + "</div>\n";
  html += "<h2>Learning</h2>\n<div class=\"grid2\">" + curve(result, "dev " + best.dev.metric, &EpochRecord::dev) + curve(result, "training loss", &EpochRecord::loss) + "</div>\n";
  html += "<h2>Dev</h2>\n" + html_table(result, &SeedResult::dev);
  if (tested) html += "<h2>Test</h2>\n" + html_table(result, &SeedResult::test);
  const std::string where = fmt::format("{}, seed {}", tested ? "test" : "dev", best.seed);
  if (shown.confusion) html += "<h2>Confusion (" + where + ")</h2>\n" + html_matrix(*shown.confusion);
  if (!shown.mistakes.empty()) html += "<h2>Worst errors (" + where + ")</h2>\n" + html_mistakes(shown);
  html += "<h2>Configuration</h2>\n<div class=\"card\"><pre>" + escape_html(ConfigFields(config).print()) + "</pre></div>\n";
  return draw_page({.title = title, .body = html, .style = "td, th { padding: .25em .6em } .mistakes td { font-size: 85% }", .footer = "Made by triax finetune."});
}

}  // namespace triax::finetune
