#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/tasks/answer_text.h"
#include "triax/tasks/json_file.h"
#include "triax/tasks/squad_score.h"

namespace triax::tasks {
namespace {

constexpr size_t kCandidates = 5;  // BioASQ takes no more

bool is_right(const FactoidQuestion& question, const std::string& candidate) {
  const std::string wanted = lower_case(trim(candidate));
  for (const auto& synonyms : question.answers)
    for (const std::string& synonym : synonyms)
      if (lower_case(trim(synonym)) == wanted) return true;
  return false;
}

std::vector<std::string> candidates_of(const Json& json, const std::string& where) {
  std::vector<std::string> candidates;
  if (json.is_text()) candidates.push_back(json.text());
  if (json.is_array())
    for (const Json& item : json) {
      const Json& text = item.is_array() && !item.empty() ? item[size_t{0}] : item;
      check(text.is_text(), "{}: a candidate is not a text", where);
      candidates.push_back(text.text());
    }
  check(json.is_text() || json.is_array(), "{}: the answer is neither a text nor a list of candidates", where);
  return candidates;
}

}  // namespace

FactoidScore score_factoid(const FactoidFile& gold, const std::map<std::string, std::vector<std::string>>& candidates) {
  FactoidScore score;
  for (const FactoidQuestion& question : gold.questions) {
    check(!question.answers.empty(), "question {} has no \"exact_answer\" to score against", question.id);
    ++score.total;
    const auto found = candidates.find(question.id);
    if (found == candidates.end()) continue;
    const size_t count = std::min(found->second.size(), kCandidates);
    for (size_t rank = 0; rank < count; ++rank) {
      if (!is_right(question, found->second[rank])) continue;
      if (rank == 0) score.strict += 1;
      score.lenient += 1;
      score.mrr += 1.0 / static_cast<double>(rank + 1);
      break;
    }
  }
  const auto total = static_cast<double>(std::max<int64_t>(score.total, 1));
  score.strict /= total, score.lenient /= total, score.mrr /= total;
  return score;
}

std::map<std::string, std::vector<std::string>> read_factoid_predictions(const std::filesystem::path& path) {
  const Json root = Json::parse(read_text(path), path.string());
  check(root.is_object(), "{}: not a JSON object", path.string());
  std::map<std::string, std::vector<std::string>> predictions;
  if (root.contains("questions") && root["questions"].is_array()) {
    for (size_t i = 0; i < root["questions"].size(); ++i) {
      const Json& question = root["questions"][i];
      const std::string where = path.string() + ": question " + std::to_string(i + 1);
      check(question.is_object() && !string_or(question, "id").empty(), "{}: there is no \"id\"", where);
      if (question.contains("type") && string_or(question, "type") != "factoid") continue;
      check(question.contains("exact_answer"), "{}: there is no \"exact_answer\"", where);
      predictions[string_or(question, "id")] = candidates_of(question["exact_answer"], where);
    }
  } else {
    for (const auto& [id, value] : root.members()) predictions[id] = candidates_of(value, path.string() + ": question " + id);
  }
  return predictions;
}

std::string factoid_predictions_json(const FactoidFile& gold, const std::map<std::string, std::vector<std::string>>& candidates) {
  Json questions = Json::array();
  for (const FactoidQuestion& question : gold.questions) {
    Json answers = Json::array();
    if (const auto found = candidates.find(question.id); found != candidates.end())
      for (size_t i = 0; i < std::min(found->second.size(), kCandidates); ++i) answers.push_back(Json::array({found->second[i]}));
    questions.push_back({{"id", question.id}, {"type", "factoid"}, {"body", question.text}, {"exact_answer", answers}});
  }
  return Json{{"questions", questions}}.dump(1) + "\n";
}

}  // namespace triax::tasks
