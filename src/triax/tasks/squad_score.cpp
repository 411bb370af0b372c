#include "triax/tasks/squad_score.h"

#include <algorithm>
#include <unordered_map>

#include "triax/base/error.h"
#include "triax/tasks/answer_text.h"

namespace triax::tasks {
namespace {

struct Raw {
  const Question* question;
  const std::string* prediction;
  double exact, f1;
};

// Only answers with words count in version 2.0; without any, the right answer is none.
std::vector<std::string> gold_texts(const Question& question, bool version2) {
  std::vector<std::string> texts;
  for (const Answer& answer : question.answers)
    if (!version2 || !answer_words(answer.text).empty()) texts.push_back(answer.text);
  if (version2 && texts.empty()) texts.emplace_back();
  return texts;
}

std::vector<Raw> raw_scores(const QuestionFile& gold, const Predictions& predictions, bool version2, SquadScore& score) {
  std::unordered_map<std::string_view, const std::string*> by_id;
  for (const auto& [id, text] : predictions) by_id[id] = &text;
  std::vector<Raw> raw;
  for (const Question& question : gold.questions) {
    const auto found = by_id.find(question.id);
    if (found == by_id.end()) {
      score.unanswered.push_back(question.id);
      continue;
    }
    Raw r{&question, found->second, 0, 0};
    const std::string normalized = normalize_answer(*r.prediction);
    for (const std::string& text : gold_texts(question, version2)) {
      r.exact = std::max(r.exact, normalize_answer(text) == normalized ? 1.0 : 0.0);
      r.f1 = std::max(r.f1, answer_f1(text, *r.prediction, version2));
    }
    raw.push_back(r);
  }
  return raw;
}

bool answerable(const Question& question) { return !question.answers.empty(); }

// The threshold on the no-answer score up to which answers should be given, and the score in per cent.
std::pair<double, double> best_threshold(const QuestionFile& gold, const std::unordered_map<std::string_view, const Raw*>& raw,
                                         const NoAnswerScores& scores, double Raw::*value, size_t total) {
  double current = 0;
  for (const Question& question : gold.questions)
    if (!answerable(question)) current += 1;
  double best = current, threshold = 0;
  NoAnswerScores sorted = scores;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  for (const auto& [id, no_answer] : sorted) {
    const auto found = raw.find(id);
    if (found == raw.end()) continue;
    const Raw& r = *found->second;
    current += answerable(*r.question) ? r.*value : r.prediction->empty() ? 0 : -1;
    if (current > best) best = current, threshold = no_answer;
  }
  return {100.0 * best / static_cast<double>(total), threshold};
}

SquadScore::Part part_of(const std::vector<Raw>& raw, bool with_answer, int64_t total) {
  SquadScore::Part part{0, 0, total};
  for (const Raw& r : raw)
    if (answerable(*r.question) == with_answer) part.exact += r.exact, part.f1 += r.f1;
  part.exact = 100.0 * part.exact / static_cast<double>(total);
  part.f1 = 100.0 * part.f1 / static_cast<double>(total);
  return part;
}

void finish(const std::vector<Raw>& raw, size_t total, SquadScore& score) {
  for (const Raw& r : raw) score.exact += r.exact, score.f1 += r.f1;
  score.total = static_cast<int64_t>(total);
  score.exact = 100.0 * score.exact / static_cast<double>(total);
  score.f1 = 100.0 * score.f1 / static_cast<double>(total);
}

void apply_threshold(std::vector<Raw>& raw, const std::unordered_map<std::string_view, double>& scores, double threshold) {
  for (Raw& r : raw) {
    const auto found = scores.find(r.question->id);
    check(found != scores.end(), "question {} has a prediction but no no-answer score", r.question->id);
    if (found->second > threshold) r.exact = r.f1 = answerable(*r.question) ? 0 : 1;
  }
}

}  // namespace

double answer_f1(std::string_view gold, std::string_view predicted, bool version2) {
  const auto right = answer_words(gold), found = answer_words(predicted);
  if (version2 && (right.empty() || found.empty())) return right == found ? 1 : 0;
  std::unordered_map<std::string_view, int64_t> left;
  for (const std::string& word : right) ++left[word];
  int64_t same = 0;
  for (const std::string& word : found)
    if (left[word]-- > 0) ++same;
  if (same == 0) return 0;
  const double precision = static_cast<double>(same) / static_cast<double>(found.size());
  const double recall = static_cast<double>(same) / static_cast<double>(right.size());
  return (2 * precision * recall) / (precision + recall);
}

SquadScore score_squad1(const QuestionFile& gold, const Predictions& predictions) {
  for (const Question& question : gold.questions)
    check(answerable(question), "question {} has no answer, which SQuAD 1.1 does not know; score it as squad2", question.id);
  SquadScore score;
  const auto raw = raw_scores(gold, predictions, false, score);
  finish(raw, gold.questions.size(), score);
  return score;
}

SquadScore score_squad2(const QuestionFile& gold, const Predictions& predictions, const NoAnswerScores* scores, double threshold) {
  SquadScore score;
  auto raw = raw_scores(gold, predictions, true, score);
  check(!raw.empty(), "none of the predictions is for a question of this file");
  if (scores) {
    std::unordered_map<std::string_view, const Raw*> by_id;
    for (const Raw& r : raw) by_id[r.question->id] = &r;
    SquadScore::Best best;
    std::tie(best.exact, best.exact_threshold) = best_threshold(gold, by_id, *scores, &Raw::exact, raw.size());
    std::tie(best.f1, best.f1_threshold) = best_threshold(gold, by_id, *scores, &Raw::f1, raw.size());
    score.best = best;
    apply_threshold(raw, {scores->begin(), scores->end()}, threshold);
  }
  finish(raw, raw.size(), score);
  const auto with = std::count_if(raw.begin(), raw.end(), [](const Raw& r) { return answerable(*r.question); });
  const auto without = static_cast<int64_t>(raw.size()) - with;
  if (with > 0) score.has_answer = part_of(raw, true, with);
  if (without > 0) score.no_answer = part_of(raw, false, without);
  return score;
}

}  // namespace triax::tasks
