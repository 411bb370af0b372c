// Precision, recall and F1 of whole entities, as conlleval of the CoNLL shared tasks counts them: one is
// right when its type, first and last word are (Tjong Kim Sang and De Meulder 2003).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "triax/tasks/entities.h"

namespace triax::tasks {

struct Counts {
  int64_t gold = 0, found = 0, correct = 0;
  // 0 where there is nothing to divide by.
  double precision() const { return found > 0 ? static_cast<double>(correct) / static_cast<double>(found) : 0; }
  double recall() const { return gold > 0 ? static_cast<double>(correct) / static_cast<double>(gold) : 0; }
  double f1() const {
    const double p = precision(), r = recall();
    return p + r > 0 ? 2 * p * r / (p + r) : 0;
  }
  Counts& operator+=(const Counts& other) {
    gold += other.gold, found += other.found, correct += other.correct;
    return *this;
  }
};

class EntityScore {
 public:
  // One sentence; both have a tag a word. Throws when their lengths differ.
  void add(std::span<const std::string> gold, std::span<const std::string> predicted);

  Counts total() const;
  const std::map<std::string, Counts>& by_type() const { return by_type_; }
  int64_t words() const { return words_; }
  // Share of words with the right tag.
  double accuracy() const { return words_ > 0 ? static_cast<double>(right_words_) / static_cast<double>(words_) : 0; }
  // The text that conlleval prints.
  std::string report() const;

 private:
  std::map<std::string, Counts> by_type_;
  int64_t words_ = 0, right_words_ = 0;
};

}  // namespace triax::tasks
