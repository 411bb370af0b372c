// How often each word occurs in a corpus: what BPE training starts from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

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

  std::string_view text(const Word& word) const { return std::string_view(bytes).substr(word.begin, word.length); }
};

// Cuts documents into words by GPT-2's pattern and counts them with all threads. The result does not
// depend on their number. Not for use by several threads at once.
class WordCounter {
 public:
  WordCounter();
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

  std::string batch_;
  std::vector<size_t> document_ends_;  // in batch_
  std::vector<std::unique_ptr<Table>> tables_;  // one per thread
  uint64_t bytes_ = 0, documents_ = 0;
};

}  // namespace triax::text
