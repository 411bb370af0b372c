// Files of words and tags, one word a line, a blank line between sentences (CoNLL-2003, BC5CDR,
// NCBI-disease ...): the word in the first column, the tag in the last, columns parted by tabs or, in
// files without tabs, by spaces. "-DOCSTART-" lines begin documents.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "triax/tasks/entities.h"
#include "triax/tasks/records.h"

namespace triax::tasks {

struct TaggedSentence {
  std::vector<std::string> words, tags;
  uint64_t line = 0;      // of its first word
  int64_t document = 0;   // counts "-DOCSTART-" lines before it
};

struct ConllFile {
  std::vector<TaggedSentence> sentences;
  std::set<std::string> types;  // of entities
  TagScheme scheme = TagScheme::iob2;
  BadRecords bad;               // sentences that were left out
};

// A line without a tag, with another number of columns than the file's first, with a tag of no scheme, or
// that is not UTF-8 is refused; with skip_bad its whole sentence is left out.
ConllFile read_conll(const std::filesystem::path& path, const ReadOptions& options = {});
ConllFile parse_conll(std::string_view text, const std::filesystem::path& path, const ReadOptions& options = {});

// "word gold predicted" lines as conlleval reads them. All three have the same sentences and lengths.
std::string conlleval_input(const std::vector<TaggedSentence>& gold,
                            const std::vector<std::vector<std::string>>& predicted);

}  // namespace triax::tasks
