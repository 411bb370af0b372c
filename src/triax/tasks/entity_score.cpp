#include "triax/tasks/entity_score.h"

#include <fmt/core.h>

#include <set>

#include "triax/base/error.h"

namespace triax::tasks {

void EntityScore::add(std::span<const std::string> gold, std::span<const std::string> predicted) {
  check(gold.size() == predicted.size(), "a sentence of {} words has {} predicted tags", gold.size(), predicted.size());
  const auto right = entities_of(gold), found = entities_of(predicted);
  const std::set<Entity> known(right.begin(), right.end());
  for (const Entity& e : right) ++by_type_[e.type].gold;
  for (const Entity& e : found) {
    Counts& counts = by_type_[e.type];
    ++counts.found;
    if (known.contains(e)) ++counts.correct;
  }
  for (size_t i = 0; i < gold.size(); ++i)
    if (gold[i] == predicted[i]) ++right_words_;
  words_ += static_cast<int64_t>(gold.size());
}

Counts EntityScore::total() const {
  Counts total;
  for (const auto& [type, counts] : by_type_) total += counts;
  return total;
}

std::string EntityScore::report() const {
  const Counts all = total();
  std::string text = fmt::format("processed {} tokens with {} phrases; found: {} phrases; correct: {}.\n", words_,
                                 all.gold, all.found, all.correct);
  text += fmt::format("accuracy: {:6.2f}%; precision: {:6.2f}%; recall: {:6.2f}%; FB1: {:6.2f}\n", 100 * accuracy(),
                      100 * all.precision(), 100 * all.recall(), 100 * all.f1());
  for (const auto& [type, counts] : by_type_)
    text += fmt::format("{:>17}: precision: {:6.2f}%; recall: {:6.2f}%; FB1: {:6.2f}  {}\n", type, 100 * counts.precision(),
                        100 * counts.recall(), 100 * counts.f1(), counts.found);
  return text;
}

}  // namespace triax::tasks
