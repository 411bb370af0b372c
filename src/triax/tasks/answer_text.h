// Answers made comparable, as the official SQuAD scripts do it: capitals lowered, ASCII punctuation taken
// out, the words a, an and the, and surplus white space. Their language is Python; so are the rules here
// for what is lower case, a word and white space.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "triax/text/tokenizer.h"

namespace triax::tasks {

// Python's str.lower().
std::string lower_case(std::string_view text);

// A text in lower case that knows where each byte came from.
class LoweredText {
 public:
  explicit LoweredText(std::string_view text);
  const std::string& text() const { return lowered_; }
  // The bytes of the original that bytes [begin, end) stand for.
  ByteRange origin(size_t begin, size_t end) const;

 private:
  std::string lowered_;
  std::vector<ByteRange> origins_;  // a byte each
};

std::string normalize_answer(std::string_view text);
// The words of the normalized answer.
std::vector<std::string> answer_words(std::string_view text);

}  // namespace triax::tasks
