// Questions about a text: SQuAD 1.1 and 2.0 JSON (Rajpurkar et al. 2016, 2018), the same form with BioASQ's
// snippets (ids "..._001"), and the factoid questions of BioASQ's own JSON.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "triax/tasks/records.h"
#include "triax/text/tokenizer.h"

namespace triax::tasks {

struct Answer {
  std::string text;  // as the file has it
  // Its bytes in the context; absent when it is not found there (it still counts in scoring).
  std::optional<ByteRange> place;
};

struct Question {
  std::string id, text, title;
  size_t context = 0;  // index into QuestionFile::contexts
  std::vector<Answer> answers;
  bool impossible = false;  // SQuAD 2.0: the context has no answer
};

struct QuestionFile {
  std::string version;
  std::vector<std::string> contexts;
  std::vector<Question> questions;
  // Of answers with a position in the file: where the text stood as said, was found elsewhere (the
  // occurrence nearest to the said one is taken), was not found at all.
  int64_t placed = 0, moved = 0, lost = 0;
  std::vector<std::string> lost_examples;  // "file: question id: ...", the first few
  BadRecords bad;

  const std::string& context_of(const Question& q) const { return contexts[q.context]; }
};

// Questions without an id, text or context, and repeated ids, are refused. `answers` may be missing: a
// file to be predicted.
QuestionFile read_squad(const std::filesystem::path& path, const ReadOptions& options = {});
QuestionFile parse_squad(std::string_view text, const std::filesystem::path& path, const ReadOptions& options = {});

// A factoid question of BioASQ ("questions" with "body", "snippets", "exact_answer"): each answer is a
// list of synonyms, and the snippets are the contexts.
struct FactoidQuestion {
  std::string id, text;
  std::vector<std::string> snippets;
  std::vector<std::vector<std::string>> answers;  // one list of synonyms for each thing that is right
};
struct FactoidFile {
  std::vector<FactoidQuestion> questions;
  int64_t other_types = 0;  // questions that are not factoid
  BadRecords bad;
};
FactoidFile read_bioasq(const std::filesystem::path& path, const ReadOptions& options = {});
FactoidFile parse_bioasq(std::string_view text, const std::filesystem::path& path, const ReadOptions& options = {});

// One SQuAD question for each snippet, "<id>_001" and so on, answered where a synonym stands in it
// (ignoring case): what a model is trained on and asked.
QuestionFile as_questions(const FactoidFile& file);

// {"id": "answer", ...} in the order of the file: SQuAD's predictions. Throws naming id and place.
std::vector<std::pair<std::string, std::string>> read_predictions(const std::filesystem::path& path);
// {"id": 0.3, ...}: probabilities that there is no answer.
std::vector<std::pair<std::string, double>> read_no_answer_scores(const std::filesystem::path& path);

}  // namespace triax::tasks
