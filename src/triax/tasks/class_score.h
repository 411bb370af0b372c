// Scores of classes and of numbers: accuracy, F1 per class, macro and micro, Matthews and correlation
// coefficients.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "triax/tasks/cases.h"
#include "triax/tasks/entity_score.h"

namespace triax::tasks {

// How often class `row` was taken for class `column`.
class ConfusionMatrix {
 public:
  explicit ConfusionMatrix(LabelSet labels);
  // Throws when a label is not in the set.
  void add(std::string_view gold, std::string_view predicted);
  void add(int64_t gold, int64_t predicted);

  const LabelSet& labels() const { return labels_; }
  int64_t at(int64_t gold, int64_t predicted) const { return counts_[static_cast<size_t>(gold * labels_.size() + predicted)]; }
  int64_t total() const { return total_; }

  double accuracy() const;
  Counts of_class(int64_t label) const;
  // Mean of the classes' F1, over those that are in the gold labels or predicted.
  double macro_f1() const;
  // Precision, recall and F1 over all classes but `negative` (relation extraction: those that say there is
  // one). Throws when one is not in the set.
  Counts micro(std::span<const std::string> negative) const;
  // Of any number of classes (Gorodkin 2004); 0 when all cases or all predictions are one class.
  double matthews() const;
  // A table for people.
  std::string report() const;

 private:
  LabelSet labels_;
  std::vector<int64_t> counts_;
  int64_t total_ = 0;
};

// Correlation of two series of one length; NaN when one of them is constant.
double pearson(std::span<const double> x, std::span<const double> y);
// Of ranks; equal values share the mean of theirs.
double spearman(std::span<const double> x, std::span<const double> y);

}  // namespace triax::tasks
