// Cuts text into the words that WordPiece works on, as BERT does (Devlin et al. 2019, the reference
// implementation's BasicTokenizer; BertNormalizer and BertPreTokenizer of Hugging Face): control
// characters go, Chinese characters and punctuation stand alone, accents are stripped, capitals lowered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "triax/text/tokenizer.h"

namespace triax::text {

struct BertNormalization {
  bool clean_text = true;            // remove control characters
  bool handle_chinese_chars = true;  // each is a word
  std::optional<bool> strip_accents; // absent: as lowercase
  bool lowercase = true;

  bool strips() const { return strip_accents.value_or(lowercase); }
};

// Reads words one after the other. What is not UTF-8 counts as U+FFFD.
class BertWords {
 public:
  BertWords(std::string_view text, const BertNormalization& how) : text_(text), how_(how) {}

  // The next word; false at the end.
  bool next();
  // The word, normalized. Valid until the next call.
  std::string_view word() const { return word_; }
  // For every byte of word(): the bytes of the character of the text it comes from.
  const std::vector<ByteRange>& origins() const { return origins_; }
  void track_origins() { tracking_ = true; }

 private:
  // What a character did to the word: it goes on; it is complete with this character; it was complete
  // before it, and the character is to be looked at again.
  enum class Step { goes_on, done, done_before };
  Step take_character();
  Step take_normalized(uint32_t code, bool alone, size_t begin, size_t end);
  void append(uint32_t code, size_t begin, size_t end);

  // What a character beyond ASCII becomes.
  struct Pending {
    uint32_t code;
    bool alone;
    size_t begin, end;
  };

  std::string_view text_;
  const BertNormalization& how_;
  size_t at_ = 0;
  std::string word_;
  std::vector<ByteRange> origins_;
  std::vector<Pending> pending_;
  size_t next_pending_ = 0;
  bool tracking_ = false;
};

}  // namespace triax::text
