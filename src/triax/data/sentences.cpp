#include "triax/data/sentences.h"

#include <unicode/brkiter.h>
#include <unicode/utext.h>

#include <algorithm>
#include <array>

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax {
namespace {

constexpr std::array<std::string_view, 37> kAbbreviations = {
    "al",  "approx", "Capt", "cf",  "Co",   "Col", "Corp", "Dr",   "e.g", "Eq", "Eqs", "esp", "Fig",
    "Figs", "Gen",   "Gov",  "Hon", "i.e",  "Inc", "Jr",   "Lt",   "Ltd", "Mr", "Mrs", "Ms",  "No",
    "pp",  "Prof",   "Ref",  "Refs", "Rev", "Sgt", "Sr",   "St",   "Vol", "vs", "viz"};

// Whether the stop at the end of `sentence` is that of an abbreviation ("Dr.", "U.S.", "J.").
bool ends_abbreviated(std::string_view sentence) {
  if (!sentence.ends_with('.')) return false;
  sentence.remove_suffix(1);
  const size_t space = sentence.find_last_of(" \t\n\r([\"'");
  const std::string_view word = space == std::string_view::npos ? sentence : sentence.substr(space + 1);
  if (std::find(kAbbreviations.begin(), kAbbreviations.end(), word) != kAbbreviations.end()) return true;
  // Single letters with stops between them; of a letter alone only a capital that is not "I".
  if (word.size() == 1) return word[0] >= 'A' && word[0] <= 'Z' && word[0] != 'I';
  for (size_t i = 0; i < word.size(); ++i) {
    const bool letter = (word[i] >= 'A' && word[i] <= 'Z') || (word[i] >= 'a' && word[i] <= 'z');
    if (i % 2 == 0 ? !letter : word[i] != '.') return false;
  }
  return word.size() % 2 == 1;
}

}  // namespace

struct SentenceSplitter::Breaker {
  std::unique_ptr<icu::BreakIterator> iterator;
  UText* text = nullptr;
  bool english = false;
  ~Breaker() {
    iterator.reset();
    if (text) ::utext_close(text);
  }
};

SentenceSplitter::SentenceSplitter(const std::string& language) : breaker_(std::make_unique<Breaker>()) {
  UErrorCode status = U_ZERO_ERROR;
  // ICU's own suppression of abbreviations (ss=standard) does nothing in English and far too much in
  // German, so it is left off.
  breaker_->iterator.reset(icu::BreakIterator::createSentenceInstance(icu::Locale(language.c_str()), status));
  check(U_SUCCESS(status) && breaker_->iterator, "sentences of the language \"{}\" cannot be told apart: {}", language,
        ::u_errorName(status));
  breaker_->english = language == "en" || language.starts_with("en_") || language.starts_with("en-");
}

SentenceSplitter::~SentenceSplitter() = default;

const std::vector<std::string_view>& SentenceSplitter::split(std::string_view text) {
  unwrapped_.assign(text);
  // Same length, so that line ends are all that differs.
  for (size_t i = 0; i < unwrapped_.size(); ++i) {
    if (unwrapped_[i] != '\n') continue;
    const size_t run = i;
    while (i + 1 < unwrapped_.size() && (unwrapped_[i + 1] == '\n' || unwrapped_[i + 1] == '\r')) ++i;
    if (i == run) {
      unwrapped_[i] = ' ';
      if (i > 0 && unwrapped_[i - 1] == '\r') unwrapped_[i - 1] = ' ';
    }
  }
  sentences_.clear();
  UErrorCode status = U_ZERO_ERROR;
  breaker_->text = ::utext_openUTF8(breaker_->text, unwrapped_.data(), static_cast<int64_t>(unwrapped_.size()), &status);
  breaker_->iterator->setText(breaker_->text, status);
  check(U_SUCCESS(status), "text cannot be cut into sentences: {}", ::u_errorName(status));
  const std::string_view all = unwrapped_;
  breaker_->iterator->first();
  size_t begin = 0;
  for (int32_t next = breaker_->iterator->next(); next != icu::BreakIterator::DONE; next = breaker_->iterator->next()) {
    const auto end = static_cast<size_t>(next);
    const std::string_view piece = all.substr(begin, end - begin), sentence = trim(piece);
    // The line ends that are left are those of paragraphs.
    const bool goes_on = breaker_->english && end < all.size() && !piece.ends_with('\n') && ends_abbreviated(sentence);
    if (goes_on) continue;
    if (!sentence.empty()) sentences_.push_back(sentence);
    begin = end;
  }
  return sentences_;
}

}  // namespace triax
