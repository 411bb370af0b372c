#include "triax/tasks/span_select.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "triax/base/error.h"

namespace triax::tasks {
namespace {

// Positions of the n largest, the first of equal ones first.
std::vector<size_t> largest(const std::vector<float>& scores, int64_t n) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t count = std::min(order.size(), static_cast<size_t>(std::max<int64_t>(n, 0)));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(), [&](size_t a, size_t b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  });
  order.resize(count);
  return order;
}

using Scores = std::map<std::pair<int64_t, int64_t>, double>;  // by bytes of the context

void add_window(const ScoredWindow& w, const SpanOptions& options, Scores& scores) {
  const auto ends = largest(w.end, options.n_best);
  for (const size_t s : largest(w.start, options.n_best)) {
    if (w.places[s].begin < 0 || (!w.best_here.empty() && !w.best_here[s])) continue;
    for (const size_t e : ends) {
      if (w.places[e].begin < 0 || e < s || static_cast<int64_t>(e - s) >= options.max_answer_tokens) continue;
      const double score = static_cast<double>(w.start[s]) + static_cast<double>(w.end[e]);
      const auto [at, is_new] = scores.try_emplace({w.places[s].begin, w.places[e].end}, score);
      if (!is_new) at->second = std::max(at->second, score);
    }
  }
}

void set_probabilities(std::vector<SpanAnswer>& answers) {
  double sum = 0;
  for (const SpanAnswer& answer : answers) sum += std::exp(answer.score - answers.front().score);
  for (SpanAnswer& answer : answers) answer.probability = std::exp(answer.score - answers.front().score) / sum;
}

}  // namespace

std::string SpanChoice::best(double null_threshold) const {
  return null_difference > null_threshold ? std::string() : best();
}

SpanChoice choose_spans(std::string_view context, std::span<const ScoredWindow> windows, const SpanOptions& options) {
  Scores scores;
  double null_score = std::numeric_limits<double>::max();
  for (const ScoredWindow& w : windows) {
    check(!w.start.empty() && w.end.size() == w.start.size() && w.places.size() == w.start.size(),
          "a window of {} start scores has {} end scores and {} places", w.start.size(), w.end.size(), w.places.size());
    null_score = std::min(null_score, static_cast<double>(w.start[0]) + static_cast<double>(w.end[0]));
    add_window(w, options, scores);
  }
  SpanChoice choice;
  for (const auto& [place, score] : scores) {
    const auto [begin, end] = place;
    choice.answers.push_back({{begin, end}, std::string(context.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin))), score, 0});
  }
  std::stable_sort(choice.answers.begin(), choice.answers.end(), [](const SpanAnswer& a, const SpanAnswer& b) { return a.score > b.score; });
  choice.answers.resize(std::min(choice.answers.size(), static_cast<size_t>(std::max<int64_t>(options.n_best, 0))));
  choice.null_difference = choice.answers.empty() ? std::numeric_limits<double>::max() : null_score - choice.answers.front().score;
  if (!choice.answers.empty()) set_probabilities(choice.answers);
  return choice;
}

}  // namespace triax::tasks
