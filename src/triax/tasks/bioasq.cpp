#include <fmt/core.h>

#include <unordered_set>
#include <utility>

#include "triax/base/error.h"
#include "triax/tasks/answer_text.h"
#include "triax/tasks/json_file.h"
#include "triax/tasks/squad.h"

namespace triax::tasks {
namespace {

// "exact_answer" is a text, a list of texts (synonyms of one answer), or a list of such lists. False for
// anything else.
bool read_answers(const Json& json, std::vector<std::vector<std::string>>& answers) {
  if (json.is_text()) return answers.push_back({json.text()}), true;
  if (!json.is_array()) return false;
  std::vector<std::string> synonyms;
  for (const Json& item : json) {
    if (item.is_text()) {
      synonyms.push_back(item.text());
    } else if (item.is_array()) {
      std::vector<std::string> inner;
      for (const Json& text : item) {
        if (!text.is_text()) return false;
        inner.push_back(text.text());
      }
      if (!inner.empty()) answers.push_back(std::move(inner));
    } else {
      return false;
    }
  }
  if (!synonyms.empty()) answers.push_back(std::move(synonyms));
  return true;
}

// Why the question cannot be used, or nothing.
std::string read_question(const Json& json, FactoidQuestion& q) {
  q.id = string_or(json, "id");
  q.text = string_or(json, "body");
  if (q.id.empty()) return "there is no \"id\"";
  if (q.text.empty()) return "there is no \"body\"";
  if (json.contains("snippets")) {
    if (!json["snippets"].is_array()) return "\"snippets\" is not a list";
    for (const Json& snippet : json["snippets"]) {
      if (!snippet.is_object() || !snippet.contains("text") || !snippet["text"].is_text()) return "a snippet has no \"text\"";
      q.snippets.push_back(snippet["text"].text());
    }
  }
  if (json.contains("exact_answer") && !read_answers(json["exact_answer"], q.answers))
    return "\"exact_answer\" is neither a text nor a list of synonyms";
  return {};
}

std::optional<ByteRange> find_ignoring_case(const std::string& context, const std::string& text) {
  if (text.empty()) return std::nullopt;
  const LoweredText lowered(context);
  const std::string wanted = lower_case(text);
  const size_t at = lowered.text().find(wanted);
  if (at == std::string::npos) return std::nullopt;
  return lowered.origin(at, at + wanted.size());
}

}  // namespace

FactoidFile parse_bioasq(std::string_view text, const std::filesystem::path& path, const ReadOptions& options) {
  const Json root = Json::parse(text, path.string());
  check(root.is_object() && root.contains("questions") && root["questions"].is_array(),
        "{}: there is no \"questions\" list at its top, as BioASQ has", path.string());
  FactoidFile file;
  std::unordered_set<std::string> ids;
  for (size_t i = 0; i < root["questions"].size(); ++i) {
    const Json& json = root["questions"][i];
    if (json.is_object() && string_or(json, "type") != "factoid" && json.contains("type")) {
      ++file.other_types;
      continue;
    }
    FactoidQuestion q;
    std::string wrong = json.is_object() ? read_question(json, q) : "not an object";
    if (wrong.empty() && !ids.insert(q.id).second) wrong = "its id was there before";
    if (wrong.empty()) {
      file.questions.push_back(std::move(q));
    } else {
      refuse(options, file.bad, fmt::format("{}: question {}: {}", path.string(), i + 1, wrong));
    }
  }
  return file;
}

FactoidFile read_bioasq(const std::filesystem::path& path, const ReadOptions& options) {
  return parse_bioasq(read_text(path), path, options);
}

QuestionFile as_questions(const FactoidFile& file) {
  QuestionFile result;
  for (const FactoidQuestion& factoid : file.questions) {
    for (size_t s = 0; s < factoid.snippets.size(); ++s) {
      Question q{fmt::format("{}_{:03}", factoid.id, s + 1), factoid.text, "", result.contexts.size(), {}, false};
      const std::string& context = result.contexts.emplace_back(factoid.snippets[s]);
      for (const auto& synonyms : factoid.answers)
        for (const std::string& synonym : synonyms)
          if (const auto place = find_ignoring_case(context, synonym)) {
            q.answers.push_back({context.substr(static_cast<size_t>(place->begin), static_cast<size_t>(place->end - place->begin)), place});
            ++result.placed;
          }
      q.impossible = q.answers.empty();
      result.questions.push_back(std::move(q));
    }
  }
  return result;
}

}  // namespace triax::tasks
