// Who supports or contrasts whom: the stances in which a collection of articles cites each work, counted. Works are
// the same across articles where their reference lists tell (title and year, else the entry as it stands); what no
// list names is a work of its article alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace triax::tasks {

// What a citation tells of the work; `key` ("3", "Smith et al. 2010") and nothing else where there is no reference list.
struct CitedWork {
  std::string key, author, year, title, entry;
};

// The same for the same work, whoever cites it, or of `article` alone.
std::string work_identity(const CitedWork& work, std::string_view article);

class StanceTally {
 public:
  // `stances`: names of the classes, at least 2.
  explicit StanceTally(std::vector<std::string> stances) : stances_(std::move(stances)) {}

  // One citation of a sentence, of class `stance`. All of an article come one after the other.
  void add(const std::string& article, std::string_view sentence, const CitedWork& work, size_t stance, double probability);

  // Tab-separated, a line each: article, cites, author, year, title, times, then how often in each stance.
  // The rows of the articles that are over are handed out once: take them now and then, and a last time behind `end`.
  std::string article_header() const;
  std::string take_article_rows(bool end);
  // The same for each work over all articles, most cited first: author, year, title, articles, times, stances.
  std::string works_table() const;
  // An HTML page: what is cited most, and what most often in each stance but the most frequent, with the sentences that
  // say so most certainly.
  std::string page(std::string_view title) const;

  int64_t citations() const { return citations_; }
  int64_t articles() const { return articles_; }
  size_t works() const { return works_.size(); }
  const std::vector<std::string>& stances() const { return stances_; }
  std::vector<int64_t> totals() const;  // by stance

 private:
  struct Counts {
    CitedWork work;
    int64_t articles = 0, times = 0;
    std::vector<int64_t> by_stance;
    int64_t count_of(std::optional<size_t> stance) const { return stance ? by_stance[*stance] : times; }  // or in any
  };
  struct Example {
    std::string article, sentence;
    double probability = -1;
  };
  struct WorkCounts : Counts {
    std::string last_article;
    std::vector<Example> examples;  // the most certain of each stance
  };
  void count(Counts& counts, size_t stance) const;
  void end_article();
  std::string columns(const Counts& counts) const;
  std::vector<const WorkCounts*> most(size_t limit, std::optional<size_t> stance) const;
  std::string rows_html(const std::vector<const WorkCounts*>& works, std::optional<size_t> stance) const;

  std::vector<std::string> stances_;
  std::map<std::string, WorkCounts> works_;
  std::string article_;
  std::vector<std::string> order_;       // works of the article at hand
  std::map<std::string, Counts> cited_;  // by it
  std::string rows_;
  int64_t articles_ = 0, citations_ = 0;
};

}  // namespace triax::tasks
