#include "triax/tasks/conll.h"

#include <fmt/core.h>

#include <utility>

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax::tasks {
namespace {

std::vector<std::string_view> columns_of(std::string_view line) {
  const bool tabs = line.find('\t') != std::string_view::npos;
  std::vector<std::string_view> columns;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find(tabs ? '\t' : ' ', begin), line.size());
    if (tabs || end > begin) columns.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return columns;
}

class Parser {
 public:
  Parser(const std::filesystem::path& path, const ReadOptions& options) : path_(path), options_(options) {}

  void line(std::string_view text, uint64_t number) {
    if (is_blank(text)) return finish();
    const auto columns = columns_of(text);
    if (columns[0] == "-DOCSTART-") {
      finish();
      ++document_;
      return;
    }
    if (std::string wrong = complaint(text, columns); !wrong.empty()) {
      if (!spoilt_) refuse(options_, file_.bad, fmt::format("{}: {}", place(path_, number), wrong));
      spoilt_ = true;
      return;
    }
    if (sentence_.words.empty()) sentence_.line = number;
    sentence_.words.emplace_back(columns.front());
    sentence_.tags.emplace_back(columns.back());
  }

  ConllFile result() {
    finish();
    file_.scheme = detector_.scheme();
    return std::move(file_);
  }

 private:
  std::string complaint(std::string_view text, const std::vector<std::string_view>& columns) {
    if (find_invalid_utf8(text) != std::string_view::npos) return "not UTF-8";
    if (columns.size() < 2) return fmt::format("\"{}\" has no tag", excerpt(text));
    if (width_ == 0) width_ = columns.size();
    if (columns.size() != width_)
      return fmt::format("{} columns, where the file began with {}", columns.size(), width_);
    if (columns.front().empty()) return "there is no word in the first column";
    if (!parse_tag(columns.back()))
      return fmt::format("\"{}\" is not a tag such as O, B-Type, I-Type, E-Type or S-Type", excerpt(columns.back()));
    return {};
  }

  void finish() {
    if (!spoilt_ && !sentence_.words.empty()) {
      detector_.see(sentence_.tags);
      for (const std::string& tag : sentence_.tags)
        if (tag != "O") file_.types.emplace(parse_tag(tag)->type);
      sentence_.document = document_;
      file_.sentences.push_back(std::move(sentence_));
    }
    sentence_ = {};
    spoilt_ = false;
  }

  const std::filesystem::path& path_;
  const ReadOptions& options_;
  ConllFile file_;
  TaggedSentence sentence_;
  SchemeDetector detector_;
  size_t width_ = 0;
  int64_t document_ = 0;
  bool spoilt_ = false;
};

}  // namespace

ConllFile parse_conll(std::string_view text, const std::filesystem::path& path, const ReadOptions& options) {
  Parser parser(path, options);
  for_each_line(text, [&](std::string_view line, uint64_t number) { parser.line(line, number); });
  ConllFile file = parser.result();
  check(!file.sentences.empty(), "{}: there is no sentence in it; one \"word<TAB>tag\" a line is expected", path.string());
  return file;
}

ConllFile read_conll(const std::filesystem::path& path, const ReadOptions& options) {
  return parse_conll(read_text(path), path, options);
}

std::string conlleval_input(const std::vector<TaggedSentence>& gold,
                            const std::vector<std::vector<std::string>>& predicted) {
  std::string text;
  for (size_t s = 0; s < gold.size(); ++s) {
    for (size_t i = 0; i < gold[s].words.size(); ++i)
      text += gold[s].words[i] + " " + gold[s].tags[i] + " " + predicted[s][i] + "\n";
    text += "\n";
  }
  return text;
}

}  // namespace triax::tasks
