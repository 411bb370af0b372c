#include "triax/tasks/squad.h"

#include <fmt/core.h>

#include <unordered_set>
#include <utility>

#include "triax/base/error.h"
#include "triax/tasks/json_file.h"
#include "triax/text/utf8.h"

namespace triax::tasks {
namespace {

// Byte offset of character `index`, or npos beyond the end.
size_t byte_of(std::string_view text, int64_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += text::decode_utf8(text, at).length;
  return index == 0 ? at : std::string_view::npos;
}

// Where `text` stands in `context`: at `said` if it does, else the occurrence nearest to it.
std::optional<size_t> nearest(std::string_view context, std::string_view text, size_t said) {
  if (text.empty()) return std::nullopt;
  std::optional<size_t> best;
  size_t best_distance = 0;
  for (size_t at = context.find(text); at != std::string_view::npos; at = context.find(text, at + 1)) {
    const size_t distance = at > said ? at - said : said - at;
    if (!best || distance < best_distance) best = at, best_distance = distance;
  }
  return best;
}

class SquadReader {
 public:
  SquadReader(const std::filesystem::path& path, const ReadOptions& options) : path_(path), options_(options) {}

  QuestionFile read(const Json& root) {
    check(root.is_object() && root.contains("data") && root["data"].is_array(),
          "{}: there is no \"data\" list at its top, as SQuAD has", path_.string());
    if (root.contains("version") && root["version"].is_text()) file_.version = root["version"].text();
    for (size_t a = 0; a < root["data"].size(); ++a) article(root["data"][a], a);
    check(!file_.questions.empty() || file_.bad.count > 0, "{}: there is no question in it", path_.string());
    return std::move(file_);
  }

 private:
  void wrong(const std::string& where, const std::string& what) {
    refuse(options_, file_.bad, fmt::format("{}: {}: {}", path_.string(), where, what));
  }

  void article(const Json& article, size_t index) {
    const std::string where = fmt::format("article {}", index + 1);
    if (!article.is_object() || !article.contains("paragraphs") || !article["paragraphs"].is_array())
      return wrong(where, "there is no list \"paragraphs\"");
    title_ = string_or(article, "title");
    for (size_t p = 0; p < article["paragraphs"].size(); ++p)
      paragraph(article["paragraphs"][p], fmt::format("{}, paragraph {}", where, p + 1));
  }

  void paragraph(const Json& paragraph, const std::string& where) {
    if (!paragraph.is_object() || !paragraph.contains("context") || !paragraph["context"].is_text())
      return wrong(where, "there is no text \"context\"");
    if (!paragraph.contains("qas") || !paragraph["qas"].is_array()) return wrong(where, "there is no list \"qas\"");
    file_.contexts.push_back(paragraph["context"].text());
    for (size_t q = 0; q < paragraph["qas"].size(); ++q)
      question(paragraph["qas"][q], fmt::format("{}, question {}", where, q + 1));
  }

  void question(const Json& json, std::string where) {
    if (!json.is_object() || string_or(json, "id").empty()) return wrong(where, "there is no \"id\"");
    Question q;
    q.id = string_or(json, "id");
    where += " (id " + q.id + ")";
    if (!json.contains("question") || !json["question"].is_text()) return wrong(where, "there is no text \"question\"");
    q.text = json["question"].text();
    q.title = title_;
    q.context = file_.contexts.size() - 1;
    if (json.contains("is_impossible")) {
      if (!json["is_impossible"].is_boolean()) return wrong(where, "\"is_impossible\" is neither true nor false");
      q.impossible = json["is_impossible"].boolean();
    }
    if (json.contains("answers")) {
      if (!json["answers"].is_array()) return wrong(where, "\"answers\" is not a list");
      for (const Json& answer : json["answers"]) {
        if (!answer.is_object() || !answer.contains("text") || !answer["text"].is_text())
          return wrong(where, "an answer has no \"text\"");
        if (answer.contains("answer_start") && !answer["answer_start"].is_integer())
          return wrong(where, "\"answer_start\" is not a whole number");
      }
      if (!ids_.insert(q.id).second) return wrong(where, "its id was there before");
      for (const Json& answer : json["answers"]) q.answers.push_back(place_answer(answer, where));
    } else if (!ids_.insert(q.id).second) {
      return wrong(where, "its id was there before");
    }
    file_.questions.push_back(std::move(q));
  }

  Answer place_answer(const Json& json, const std::string& where) {
    Answer answer{json["text"].text(), std::nullopt};
    const std::string& context = file_.contexts.back();
    const bool said = json.contains("answer_start");
    const int64_t start = said ? json["answer_start"].integer() : 0;
    const size_t byte = start >= 0 ? byte_of(context, start) : std::string::npos;
    std::optional<size_t> at;
    if (said && byte != std::string::npos && !answer.text.empty() && context.compare(byte, answer.text.size(), answer.text) == 0) {
      at = byte;
      ++file_.placed;
    } else if ((at = nearest(context, answer.text, byte == std::string::npos ? context.size() : byte))) {
      ++file_.moved;
    } else {
      ++file_.lost;
      constexpr size_t kExamples = 5;
      if (file_.lost_examples.size() < kExamples)
        file_.lost_examples.push_back(
            fmt::format("{}: {}: the answer \"{}\" is not in its context", path_.string(), where, excerpt(answer.text)));
    }
    if (at) answer.place = ByteRange{static_cast<int64_t>(*at), static_cast<int64_t>(*at + answer.text.size())};
    return answer;
  }

  const std::filesystem::path& path_;
  const ReadOptions& options_;
  QuestionFile file_;
  std::string title_;
  std::unordered_set<std::string> ids_;
};

}  // namespace

QuestionFile parse_squad(std::string_view text, const std::filesystem::path& path, const ReadOptions& options) {
  return SquadReader(path, options).read(Json::parse(text, path.string()));
}

QuestionFile read_squad(const std::filesystem::path& path, const ReadOptions& options) {
  return parse_squad(read_text(path), path, options);
}

std::vector<std::pair<std::string, std::string>> read_predictions(const std::filesystem::path& path) {
  const Json root = Json::parse(read_text(path), path.string());
  check(root.is_object(), "{}: predictions are one object, {{\"question id\": \"answer\", ...}}", path.string());
  std::vector<std::pair<std::string, std::string>> predictions;
  for (const auto& [id, value] : root.members()) {
    check(value.is_text(), "{}: the answer to question {} is not a string", path.string(), id);
    predictions.emplace_back(id, value.text());
  }
  return predictions;
}

std::vector<std::pair<std::string, double>> read_no_answer_scores(const std::filesystem::path& path) {
  const Json root = Json::parse(read_text(path), path.string());
  check(root.is_object(), "{}: a score for each question is one object, {{\"question id\": 0.5, ...}}", path.string());
  std::vector<std::pair<std::string, double>> scores;
  for (const auto& [id, value] : root.members()) {
    check(value.is_number(), "{}: the score of question {} is not a number", path.string(), id);
    scores.emplace_back(id, value.number());
  }
  return scores;
}

}  // namespace triax::tasks
