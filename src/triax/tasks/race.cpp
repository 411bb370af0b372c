#include <fmt/core.h>

#include <utility>

#include "triax/base/error.h"
#include "triax/tasks/cases.h"
#include "triax/tasks/json_file.h"

namespace triax::tasks {
namespace {

bool all_texts(const Json& list) {
  return list.is_array() && std::all_of(list.begin(), list.end(), [](const Json& item) { return item.is_text(); });
}

// Why the object is no RACE passage, or nothing.
std::string complaint(const Json& json) {
  if (!json.is_object()) return json.is_null() ? "not JSON" : "not a JSON object";
  if (!json.contains("article") || !json["article"].is_text()) return "there is no text \"article\"";
  if (!json.contains("questions") || !all_texts(json["questions"])) return "\"questions\" is not a list of texts";
  if (!json.contains("options") || !json["options"].is_array()) return "there is no list \"options\"";
  const size_t count = json["questions"].size();
  if (json["options"].size() != count) return fmt::format("{} lists of options for {} questions", json["options"].size(), count);
  for (const Json& options : json["options"])
    if (!all_texts(options) || options.size() < 2) return "the options of a question are not a list of texts";
  if (!json.contains("answers")) return {};
  if (!all_texts(json["answers"]) || json["answers"].size() != count) return fmt::format("\"answers\" are not {} letters", count);
  for (size_t i = 0; i < count; ++i) {
    const std::string letter = json["answers"][i].text();
    if (letter.size() != 1 || letter[0] < 'A' || static_cast<size_t>(letter[0] - 'A') >= json["options"][i].size())
      return fmt::format("the answer \"{}\" is none of the {} options", excerpt(letter), json["options"][i].size());
  }
  return {};
}

void take(const Json& json, uint64_t line, std::vector<TextCase>& cases) {
  for (size_t i = 0; i < json["questions"].size(); ++i) {
    TextCase c;
    c.id = fmt::format("{}-{}", json.contains("id") ? string_or(json, "id") : std::to_string(line), i);
    c.text = json["article"].text();
    c.pair = json["questions"][i].text();
    for (const Json& option : json["options"][i]) c.choices.push_back(option.text());
    if (json.contains("answers")) c.label = std::to_string(json["answers"][i].text()[0] - 'A');
    c.line = line;
    cases.push_back(std::move(c));
  }
}

}  // namespace

CaseFile parse_race(std::string_view text, const std::filesystem::path& path, const ReadOptions& options) {
  CaseFile file;
  const auto object = [&](std::string_view piece, uint64_t line) {
    const Json json = Json::parse_or_null(piece);
    const std::string wrong = complaint(json);
    if (wrong.empty()) return take(json, line, file.cases);
    refuse(options, file.bad, fmt::format("{}: {}", place(path, line), wrong));
  };
  // One object over several lines is a whole file; else each line is one.
  if (!Json::parse_or_null(text).is_null()) {
    object(text, 1);
  } else {
    for_each_line(text, [&](std::string_view line, uint64_t number) {
      if (line.find_first_not_of(" \t") != std::string_view::npos) object(line, number);
    });
  }
  return file;
}

CaseFile read_race(const std::filesystem::path& path, const ReadOptions& options) {
  return parse_race(read_text(path), path, options);
}

}  // namespace triax::tasks
