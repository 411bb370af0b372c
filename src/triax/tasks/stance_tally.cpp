#include "triax/tasks/stance_tally.h"

#include <fmt/format.h>

#include <algorithm>

#include "triax/base/text.h"
#include "triax/html/page.h"
#include "triax/tasks/name_scan.h"
#include "triax/tasks/records.h"

namespace triax::tasks {
namespace {

constexpr size_t kMostCited = 40, kMostOfStance = 15, kLongestSentence = 500;

constexpr const char* kStanceStyle = R"(
.stances { display: flex; height: 12px; border-radius: 3px; overflow: hidden; min-width: 160px; }
.stances i { display: block; height: 100%; }
td.work { width: 46%; } td.work small { color: var(--soft); display: block; }
.shown i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin: 0 4px 0 14px; }
)";

// Letters without accents and capitals, and the digits, in their order each: "Phase 2" is not "Phase 3".
std::string folded_title(std::string_view title) {
  std::string digits;
  std::copy_if(title.begin(), title.end(), std::back_inserter(digits), is_digit);
  return folded_name(title) + "/" + digits;
}

std::string colour(size_t stance) { return fmt::format("var(--c{})", stance % 8); }

// `article`: the one that cites it last, for works that no reference list names.
std::string name_html(const CitedWork& work, const std::string& article) {
  std::string who = work.author.empty() ? work.key : work.author;
  if (!work.year.empty()) who += " " + work.year;
  const std::string what = !work.title.empty() ? work.title : !work.entry.empty() ? work.entry : "of " + article;
  return fmt::format("<b>{}</b><small>{}</small>", escape_html(who), escape_html(excerpt(what, 160)));
}

std::string bar_html(const std::vector<int64_t>& by_stance, int64_t times) {
  std::string html = "<div class=\"stances\">";
  for (size_t s = 0; s < by_stance.size(); ++s)
    if (by_stance[s] > 0) html += fmt::format("<i style=\"width:{:.2f}%;background:{}\"></i>", 100.0 * static_cast<double>(by_stance[s]) / static_cast<double>(times), colour(s));
  return html + "</div>";
}

}  // namespace

std::string work_identity(const CitedWork& work, std::string_view article) {
  const std::string year = work.year.substr(0, 4);  // 2010a is its place in one list
  if (!work.title.empty()) return folded_title(work.title) + "/" + year;
  if (!work.entry.empty()) return folded_title(work.entry);
  return fmt::format("{}\n{}", article, work.key);
}

void StanceTally::count(Counts& counts, size_t stance) const {
  counts.by_stance.resize(stances_.size());
  ++counts.by_stance[stance];
  ++counts.times;
}

void StanceTally::add(const std::string& article, std::string_view sentence, const CitedWork& work, size_t stance, double probability) {
  if (articles_ == 0 || article != article_) {
    end_article();
    article_ = article;
    ++articles_;
  }
  const std::string identity = work_identity(work, article);
  Counts& here = cited_[identity];
  if (here.times == 0) here.work = work, order_.push_back(identity);
  count(here, stance);

  WorkCounts& all = works_[identity];
  if (all.times == 0) all.work = work, all.examples.resize(stances_.size());
  if (all.times == 0 || all.last_article != article) ++all.articles, all.last_article = article;
  count(all, stance);
  ++citations_;
  Example& example = all.examples[stance];
  if (probability > example.probability) example = {article, excerpt(sentence, kLongestSentence), probability};
}

std::string StanceTally::columns(const Counts& counts) const {
  std::string out = std::to_string(counts.times);
  for (const int64_t n : counts.by_stance) out += "\t" + std::to_string(n);
  return out + "\n";
}

std::string StanceTally::article_header() const {
  std::string out = "article\tcites\tauthor\tyear\ttitle\ttimes";
  for (const std::string& s : stances_) out += "\t" + tab_cell(s);
  return out + "\n";
}

void StanceTally::end_article() {
  for (const std::string& identity : order_) {
    const Counts& c = cited_.at(identity);
    rows_ += fmt::format("{}\t{}\t{}\t{}\t{}\t{}", tab_cell(article_), tab_cell(c.work.key), tab_cell(c.work.author), c.work.year, tab_cell(c.work.title), columns(c));
  }
  order_.clear();
  cited_.clear();
}

std::string StanceTally::take_article_rows(bool end) {
  if (end) end_article();
  return std::exchange(rows_, {});
}

std::vector<int64_t> StanceTally::totals() const {
  std::vector<int64_t> totals(stances_.size());
  for (const auto& [identity, work] : works_)
    for (size_t s = 0; s < totals.size(); ++s) totals[s] += work.by_stance[s];
  return totals;
}

std::vector<const StanceTally::WorkCounts*> StanceTally::most(size_t limit, std::optional<size_t> stance) const {
  std::vector<const WorkCounts*> works;
  for (const auto& [identity, work] : works_)
    if (work.count_of(stance) > 0) works.push_back(&work);
  std::stable_sort(works.begin(), works.end(), [&](const WorkCounts* a, const WorkCounts* b) { return a->count_of(stance) > b->count_of(stance); });
  if (works.size() > limit) works.resize(limit);
  return works;
}

std::string StanceTally::works_table() const {
  std::string out = "author\tyear\ttitle\tarticles\ttimes";
  for (const std::string& s : stances_) out += "\t" + tab_cell(s);
  out += "\n";
  for (const WorkCounts* w : most(works_.size(), std::nullopt)) {
    const CitedWork& work = w->work;
    const bool named = !work.title.empty() || !work.entry.empty();
    out += fmt::format("{}\t{}\t{}\t{}\t{}", tab_cell(named ? work.author : w->last_article + ": " + work.key), work.year,
                       tab_cell(work.title.empty() ? work.entry : work.title), w->articles, columns(*w));
  }
  return out;
}

// `stance`: the one whose number and sentence are shown.
std::string StanceTally::rows_html(const std::vector<const WorkCounts*>& works, std::optional<size_t> stance) const {
  std::string html = "<div class=\"card\"><table><tr><th>work</th><th class=\"n\">articles</th><th class=\"n\">times</th><th>stances</th></tr>\n";
  for (const WorkCounts* w : works) {
    std::string sentence;
    if (stance) {
      const Example& e = w->examples[*stance];
      sentence = fmt::format("<small>{}: “{}” ({:.0f} %)</small>", escape_html(e.article), escape_html(e.sentence), 100 * e.probability);
    }
    html += fmt::format("<tr><td class=\"work\">{}{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"middle\">{}</td></tr>\n", name_html(w->work, w->last_article), sentence, w->articles,
                        w->count_of(stance), bar_html(w->by_stance, w->times));
  }
  return html + "</table></div>\n";
}

std::string StanceTally::page(std::string_view title) const {
  const auto all = totals();
  const int64_t sum = citations_;
  std::string html = fmt::format("<h1>{}</h1>\n<p class=\"lead shown\">Stances as a model tells them from the sentences that cite.", escape_html(title));
  for (size_t s = 0; s < stances_.size(); ++s) html += fmt::format("<i style=\"background:{}\"></i>{}", colour(s), escape_html(stances_[s]));
  html += "</p>\n<div class=\"tiles\">\n" + draw_tile("Articles", fmt::format("{}", articles_), "that cite") + draw_tile("Works", fmt::format("{}", works_.size()), "cited");
  html += draw_tile("Citations", fmt::format("{}", sum), "");
  for (size_t s = 0; s < stances_.size(); ++s)
    html += draw_tile(stances_[s], fmt::format("{:.1f} %", sum > 0 ? 100.0 * static_cast<double>(all[s]) / static_cast<double>(sum) : 0), fmt::format("{} citations", all[s]));
  html += "</div>\n<h2>Cited most</h2>\n" + rows_html(most(kMostCited, std::nullopt), std::nullopt);
  const auto usual = static_cast<size_t>(std::max_element(all.begin(), all.end()) - all.begin());
  for (size_t s = 0; s < stances_.size(); ++s)
    if (s != usual && all[s] > 0)
      html += fmt::format("<h2>Most often {}</h2>\n", escape_html(stances_[s])) +
              rows_html(most(kMostOfStance, s), s);
  return draw_page({.title = std::string(title), .body = html, .style = kStanceStyle, .footer = "Made by triax cite stance."});
}

}  // namespace triax::tasks
