// How often each word occurs in a corpus: what training a vocabulary starts from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "triax/text/bert_words.h"

namespace triax::text {

// Distinct words in byte order, each with its count.
struct WordCounts {
  struct Word {
    uint64_t begin;  // in `bytes`
    uint32_t length;
    uint64_t count;
  };
  std::string bytes;
  std::vector<Word> words;
  // What did not fit into memory: the least frequent words, and how often they occur in all.
  uint64_t words_left_out = 0, occurrences_left_out = 0;

  std::string_view text(const Word& word) const { return std::string_view(bytes).substr(word.begin, word.length); }
};

enum class WordRule : uint8_t {
  gpt2,    // GPT-2's pattern
  bert,    // as BERT cuts and normalizes them
  spaces,  // what stands between white space
};

struct WordCounterOptions {
  WordRule rule = WordRule::gpt2;
  BertNormalization bert{};
  // Memory for counting, and afterwards for learning from the counts; 0: without limit. What does not fit is written
  // to `spill_directory` (created, and removed in the end) and merged; where not even the distinct words fit, the
  // least frequent are left out.
  uint64_t memory_bytes = 0;
  std::filesystem::path spill_directory{};
};

inline constexpr uint64_t kLeastCounterMemory = uint64_t{64} << 20;

// Cuts documents into words and counts them with all threads. The result depends neither on their number nor on
// whether counts were spilled. Not for use by several threads at once.
class WordCounter {
 public:
  explicit WordCounter(WordCounterOptions options = {});
  ~WordCounter();
  WordCounter(const WordCounter&) = delete;
  WordCounter& operator=(const WordCounter&) = delete;

  // The text is copied. Words never reach over the end of a document.
  void add(std::string_view document);
  uint64_t bytes() const { return bytes_; }
  uint64_t documents() const { return documents_; }
  // The counts of everything added; the counter is then empty.
  WordCounts finish();

 private:
  class Table;
  void count_batch();
  WordCounts gather();
  void spill();

  WordCounterOptions options_;
  size_t batch_bytes_;
  std::vector<std::filesystem::path> runs_;  // spilled
  std::string batch_;
  std::vector<size_t> document_ends_;  // in batch_
  std::vector<std::unique_ptr<Table>> tables_;  // one per thread
  uint64_t bytes_ = 0, documents_ = 0;
};

}  // namespace triax::text
