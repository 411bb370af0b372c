// Texts with a label or a number: classification and regression of one text, of a pair, or a choice among
// several endings, from JSON lines or tab-separated columns (SciCite, GLUE's MNLI, QQP, STS-B ..., RACE).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "triax/tasks/records.h"

namespace triax::tasks {

struct TextCase {
  std::string id;                    // of the file, or the number of its line
  std::string text, pair;            // pair: empty for a single text
  std::vector<std::string> choices;  // multiple choice: an ending each, to (text, pair)
  std::string label;                 // empty when the file has none; of a choice its index from 0
  uint64_t line = 0;
};

// Names of JSON fields, or of the columns of a TSV file that begins with a line of names, or numbers of
// its columns from 1 when it does not. An empty name: not there.
struct CaseFields {
  std::string text = "text", pair, label = "label", id, choices;
};

struct CaseFile {
  std::vector<TextCase> cases;
  BadRecords bad;
  int64_t out_of_reach = 0;  // labels of the file that belong to none of the cases, and count in scoring (tasks/chemprot.h)
};

struct CaseOptions : ReadOptions {
  CaseFields fields;
  bool need_label = true;   // a record without one is refused
  bool need_number = false; // regression: a label that is not a finite number is refused
};

// By the first character that is no white space: '{' JSON lines, else TSV.
CaseFile read_cases(const std::filesystem::path& path, const CaseOptions& options = {});
CaseFile parse_cases(std::string_view text, const std::filesystem::path& path, const CaseOptions& options = {});

// RACE (Lai et al. 2017): an object with "article", "questions", "options" and "answers" ("A" ...), one a
// file or a line.
CaseFile read_race(const std::filesystem::path& path, const ReadOptions& options = {});
CaseFile parse_race(std::string_view text, const std::filesystem::path& path, const ReadOptions& options = {});

// The names of the classes; a class's number is its place.
class LabelSet {
 public:
  LabelSet() = default;
  // Throws when a name is there twice or empty.
  explicit LabelSet(std::vector<std::string> names);
  // Those of `cases`, sorted.
  static LabelSet of(const std::vector<TextCase>& cases);

  int64_t size() const { return static_cast<int64_t>(names_.size()); }
  const std::vector<std::string>& names() const { return names_; }
  const std::string& operator[](int64_t index) const { return names_[static_cast<size_t>(index)]; }
  // -1 when there is none of that name.
  int64_t find(std::string_view name) const;
  // Cases of a label that is not in the set are refused, or left out and counted.
  void remove_unknown(CaseFile& file, const std::filesystem::path& path, const ReadOptions& options) const;

 private:
  std::vector<std::string> names_;
};

}  // namespace triax::tasks
