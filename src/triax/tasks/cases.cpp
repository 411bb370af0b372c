#include "triax/tasks/cases.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/tasks/json_file.h"

namespace triax::tasks {
namespace {

bool is_finite_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

// What every format has in common: one record is read into a case, or refused with a reason.
class CaseReader {
 public:
  CaseReader(const std::filesystem::path& path, const CaseOptions& options) : path_(path), options_(options) {}

  // `wrong`: what the format found missing.
  void take(TextCase c, std::string wrong, uint64_t line) {
    c.line = line;
    if (c.id.empty()) c.id = std::to_string(line);
    if (wrong.empty() && c.label.empty() && options_.need_label) wrong = fmt::format("there is no label in \"{}\"", options_.fields.label);
    if (wrong.empty() && options_.need_number && !c.label.empty() && !is_finite_number(c.label))
      wrong = fmt::format("the label \"{}\" is not a number", excerpt(c.label));
    if (wrong.empty()) {
      file_.cases.push_back(std::move(c));
    } else {
      refuse(options_, file_.bad, fmt::format("{}: {}", place(path_, line), wrong));
    }
  }

  CaseFile result() { return std::move(file_); }

 private:
  const std::filesystem::path& path_;
  const CaseOptions& options_;
  CaseFile file_;
};

// Why the line is no case, or nothing.
std::string read_json_case(std::string_view line, const CaseFields& fields, TextCase& c) {
  const Json json = Json::parse_or_null(line);
  if (!json.is_object()) return json.is_null() ? "not JSON" : "not a JSON object";
  const auto text = json.find(fields.text);
  if (!text || !text->is_text()) return fmt::format("there is no text \"{}\"", fields.text);
  c.text = text->text();
  if (!fields.pair.empty()) {
    const auto pair = json.find(fields.pair);
    if (!pair || !pair->is_text()) return fmt::format("there is no text \"{}\"", fields.pair);
    c.pair = pair->text();
  }
  if (!fields.choices.empty()) {
    const auto choices = json.find(fields.choices);
    if (!choices || !choices->is_array() || choices->size() < 2) return fmt::format("\"{}\" is not a list of choices", fields.choices);
    for (const Json& choice : *choices) {
      if (!choice.is_text()) return fmt::format("a choice of \"{}\" is not a text", fields.choices);
      c.choices.push_back(choice.text());
    }
  }
  if (!fields.label.empty()) c.label = string_or(json, fields.label.c_str());
  if (!fields.id.empty()) c.id = string_or(json, fields.id.c_str());
  return {};
}

// Which column each field is, from names in the first line or from numbers.
class Columns {
 public:
  Columns(const CaseFields& fields, const std::vector<std::string>& first, const std::filesystem::path& path) {
    check(fields.choices.empty(), "{}: choices are read from JSON lines, not from columns", path.string());
    has_header_ = !is_number(fields.text);
    text_ = find(fields.text, first, path), label_ = find(fields.label, first, path);
    pair_ = find(fields.pair, first, path), id_ = find(fields.id, first, path);
    width_ = first.size();
  }
  bool has_header() const { return has_header_; }

  std::string read(const std::vector<std::string>& cells, TextCase& c) const {
    if (cells.size() != width_) return fmt::format("{} columns, where the first line has {}", cells.size(), width_);
    c.text = cells[static_cast<size_t>(text_)];
    if (pair_ >= 0) c.pair = cells[static_cast<size_t>(pair_)];
    if (label_ >= 0) c.label = trim(cells[static_cast<size_t>(label_)]);
    if (id_ >= 0) c.id = cells[static_cast<size_t>(id_)];
    return {};
  }

 private:
  static bool is_number(const std::string& name) {
    return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
  }
  int find(const std::string& name, const std::vector<std::string>& first, const std::filesystem::path& path) const {
    if (name.empty()) return -1;
    if (!has_header_) {
      int number = 0;
      std::from_chars(name.data(), name.data() + name.size(), number);
      check(is_number(name) && number >= 1 && static_cast<size_t>(number) <= first.size(),
            "{}: \"{}\" is not a column; there are {}, and they are told all by number or all by name", path.string(), name, first.size());
      return number - 1;
    }
    const auto at = std::find(first.begin(), first.end(), name);
    check(at != first.end(), "{}: there is no column \"{}\"; the first line names {}. Numbers from 1 tell columns of files without names",
          path.string(), name, fmt::join(first, ", "));
    return static_cast<int>(at - first.begin());
  }

  bool has_header_ = false;
  int text_ = -1, pair_ = -1, label_ = -1, id_ = -1;
  size_t width_ = 0;
};

}  // namespace

CaseFile parse_cases(std::string_view text, const std::filesystem::path& path, const CaseOptions& options) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  check(first != std::string_view::npos, "{}: there is nothing in it", path.string());
  CaseReader reader(path, options);
  if (text[first] == '{') {
    for_each_line(text, [&](std::string_view line, uint64_t number) {
      if (is_blank(line)) return;
      TextCase c;
      std::string wrong = read_json_case(line, options.fields, c);
      reader.take(std::move(c), std::move(wrong), number);
    });
    return reader.result();
  }
  std::unique_ptr<Columns> columns;
  for_each_line(text, [&](std::string_view line, uint64_t number) {
    if (is_blank(line)) return;
    const auto cells = split(line, '\t');
    if (!columns) {
      columns = std::make_unique<Columns>(options.fields, cells, path);
      if (columns->has_header()) return;
    }
    TextCase c;
    std::string wrong = find_invalid_utf8(line) == std::string_view::npos ? columns->read(cells, c) : "not UTF-8";
    reader.take(std::move(c), std::move(wrong), number);
  });
  return reader.result();
}

CaseFile read_cases(const std::filesystem::path& path, const CaseOptions& options) {
  return parse_cases(read_text(path), path, options);
}

LabelSet::LabelSet(std::vector<std::string> names) : names_(std::move(names)) {
  std::set<std::string> seen;
  for (const std::string& name : names_) {
    check(!name.empty(), "a label is empty");
    check(seen.insert(name).second, "the label \"{}\" is there twice", name);
  }
}

LabelSet LabelSet::of(const std::vector<TextCase>& cases) {
  std::set<std::string> names;
  for (const TextCase& c : cases) names.insert(c.label);
  names.erase("");
  return LabelSet({names.begin(), names.end()});
}

int64_t LabelSet::find(std::string_view name) const {
  const auto at = std::find(names_.begin(), names_.end(), name);
  return at == names_.end() ? -1 : at - names_.begin();
}

void LabelSet::remove_unknown(CaseFile& file, const std::filesystem::path& path, const ReadOptions& options) const {
  std::erase_if(file.cases, [&](const TextCase& c) {
    if (c.label.empty() || find(c.label) >= 0) return false;
    refuse(options, file.bad,
           fmt::format("{}: the label \"{}\" is none of {}", place(path, c.line), excerpt(c.label), fmt::join(names_, ", ")));
    return true;
  });
}

}  // namespace triax::tasks
