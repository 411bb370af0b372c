// Text cut into sentences: the boundaries of Unicode (UAX 29) for the language. In English, common
// abbreviations and initials ("Dr. Smith", "et al. 2020", "J. S. Bach") do not end one. A single line
// break within a paragraph is no boundary, so that text with hard line ends works; a blank line is one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace triax {

// One a thread.
class SentenceSplitter {
 public:
  // `language` as in "en", "de", "zh".
  explicit SentenceSplitter(const std::string& language);
  ~SentenceSplitter();

  // The sentences of valid UTF-8 text, without the white space around them, none empty. Valid until
  // the next call.
  const std::vector<std::string_view>& split(std::string_view text);
  // What they are pieces of: the text of the last call, byte for byte but for line ends.
  std::string_view text() const { return unwrapped_; }

 private:
  struct Breaker;
  std::unique_ptr<Breaker> breaker_;
  std::string unwrapped_;
  std::vector<std::string_view> sentences_;
};

}  // namespace triax
