// Exact match and F1 of answers, number for number those of evaluate-v1.1.py and evaluate-v2.0.py.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "triax/tasks/squad.h"

namespace triax::tasks {

// F1 of the words in common, 0 to 1. When an answer has no words: 0 in version 1.1; in 2.0 1 if neither
// has any.
double answer_f1(std::string_view gold, std::string_view predicted, bool version2);

struct SquadScore {
  // Per cent, as the scripts print them.
  double exact = 0, f1 = 0;
  int64_t total = 0;
  std::vector<std::string> unanswered;  // ids without a prediction: 0 in version 1.1, not counted in 2.0
  // Version 2.0: the same over questions with and without an answer; absent when there are none.
  struct Part {
    double exact = 0, f1 = 0;
    int64_t total = 0;
  };
  std::optional<Part> has_answer, no_answer;
  // With scores of "no answer": the thresholds that would have been best on this set.
  struct Best {
    double exact = 0, exact_threshold = 0, f1 = 0, f1_threshold = 0;
  };
  std::optional<Best> best;
};

using Predictions = std::vector<std::pair<std::string, std::string>>;
using NoAnswerScores = std::vector<std::pair<std::string, double>>;

SquadScore score_squad1(const QuestionFile& gold, const Predictions& predictions);
// Predictions whose no-answer score is above `threshold` count as empty.
SquadScore score_squad2(const QuestionFile& gold, const Predictions& predictions, const NoAnswerScores* scores = nullptr,
                        double threshold = 1.0);

// BioASQ factoid: ranked candidates of each question against its synonyms, ignoring case.
struct FactoidScore {
  int64_t total = 0;
  double strict = 0;   // share with a right first candidate
  double lenient = 0;  // share with a right one among the first five
  double mrr = 0;      // mean of 1 / rank of the first right one of five
};
FactoidScore score_factoid(const FactoidFile& gold, const std::map<std::string, std::vector<std::string>>& candidates);
// BioASQ's submission form ({"questions": [{"id", "exact_answer": [["a"], ["b"]]}]}), or {"id": ["a", "b"]}.
std::map<std::string, std::vector<std::string>> read_factoid_predictions(const std::filesystem::path& path);
// The submission form.
std::string factoid_predictions_json(const FactoidFile& gold, const std::map<std::string, std::vector<std::string>>& candidates);

}  // namespace triax::tasks
