#include "triax/tasks/class_score.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "triax/base/error.h"

namespace triax::tasks {

ConfusionMatrix::ConfusionMatrix(LabelSet labels)
    : labels_(std::move(labels)), counts_(static_cast<size_t>(labels_.size() * labels_.size())) {}

void ConfusionMatrix::add(std::string_view gold, std::string_view predicted) {
  const int64_t row = labels_.find(gold), column = labels_.find(predicted);
  check(row >= 0 && column >= 0, "the label \"{}\" is none of {}", row < 0 ? gold : predicted, fmt::join(labels_.names(), ", "));
  add(row, column);
}

void ConfusionMatrix::add(int64_t gold, int64_t predicted) {
  ++counts_[static_cast<size_t>(gold * labels_.size() + predicted)];
  ++total_;
}

double ConfusionMatrix::accuracy() const {
  int64_t right = 0;
  for (int64_t i = 0; i < labels_.size(); ++i) right += at(i, i);
  return total_ > 0 ? static_cast<double>(right) / static_cast<double>(total_) : 0;
}

Counts ConfusionMatrix::of_class(int64_t label) const {
  Counts counts;
  for (int64_t i = 0; i < labels_.size(); ++i) counts.gold += at(label, i), counts.found += at(i, label);
  counts.correct = at(label, label);
  return counts;
}

double ConfusionMatrix::macro_f1() const {
  double sum = 0;
  int64_t present = 0;
  for (int64_t i = 0; i < labels_.size(); ++i) {
    const Counts counts = of_class(i);
    if (counts.gold + counts.found == 0) continue;
    sum += counts.f1();
    ++present;
  }
  return present > 0 ? sum / static_cast<double>(present) : 0;
}

Counts ConfusionMatrix::micro(std::span<const std::string> negative) const {
  for (const std::string& name : negative)
    check(labels_.find(name) >= 0, "the negative class \"{}\" is none of {}", name, fmt::join(labels_.names(), ", "));
  Counts counts;
  for (int64_t i = 0; i < labels_.size(); ++i)
    if (std::find(negative.begin(), negative.end(), labels_[i]) == negative.end()) counts += of_class(i);
  return counts;
}

double ConfusionMatrix::matthews() const {
  double right = 0, together = 0, gold_squares = 0, found_squares = 0;
  const auto n = static_cast<double>(total_);
  for (int64_t i = 0; i < labels_.size(); ++i) {
    const Counts c = of_class(i);
    const auto gold = static_cast<double>(c.gold), found = static_cast<double>(c.found);
    right += static_cast<double>(c.correct);
    together += gold * found, gold_squares += gold * gold, found_squares += found * found;
  }
  const double below = std::sqrt(n * n - found_squares) * std::sqrt(n * n - gold_squares);
  return below > 0 ? (right * n - together) / below : 0;
}

std::string ConfusionMatrix::report() const {
  size_t width = 9;
  for (const std::string& name : labels_.names()) width = std::max(width, name.size());
  std::string text = fmt::format("{:<{}}  precision  recall      F1    cases   predicted as", "class", width);
  for (const std::string& name : labels_.names()) text += fmt::format(" {:>7}", name);
  text += "\n";
  for (int64_t i = 0; i < labels_.size(); ++i) {
    const Counts c = of_class(i);
    text += fmt::format("{:<{}}  {:>8.2f}%  {:>5.2f}%  {:>5.2f}%  {:>6}               ", labels_[i], width, 100 * c.precision(),
                        100 * c.recall(), 100 * c.f1(), c.gold);
    for (int64_t j = 0; j < labels_.size(); ++j) text += fmt::format(" {:>{}}", at(i, j), std::max<size_t>(7, labels_[j].size()));
    text += "\n";
  }
  return text;
}

double pearson(std::span<const double> x, std::span<const double> y) {
  check(x.size() == y.size() && !x.empty(), "{} numbers cannot be correlated with {}", x.size(), y.size());
  const auto n = static_cast<double>(x.size());
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / n, mean_y = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double dx = x[i] - mean_x, dy = y[i] - mean_y;
    xy += dx * dy, xx += dx * dx, yy += dy * dy;
  }
  if (xx == 0 || yy == 0) return std::numeric_limits<double>::quiet_NaN();
  return xy / (std::sqrt(xx) * std::sqrt(yy));
}

namespace {

std::vector<double> ranks(std::span<const double> x) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] < x[b]; });
  std::vector<double> rank(x.size());
  for (size_t i = 0, j = 0; i < order.size(); i = j) {
    while (j < order.size() && x[order[j]] == x[order[i]]) ++j;
    for (size_t k = i; k < j; ++k) rank[order[k]] = 0.5 * static_cast<double>(i + j + 1);
  }
  return rank;
}

}  // namespace

double spearman(std::span<const double> x, std::span<const double> y) {
  check(std::none_of(x.begin(), x.end(), [](double v) { return std::isnan(v); }) &&
            std::none_of(y.begin(), y.end(), [](double v) { return std::isnan(v); }),
        "a value is not a number; ranks need numbers");
  const auto rank_x = ranks(x), rank_y = ranks(y);
  return pearson(rank_x, rank_y);
}

}  // namespace triax::tasks
