#include "triax/tasks/answer_text.h"

#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/edits.h>
#include <unicode/uchar.h>

#include <string>

#include "triax/base/error.h"
#include "triax/text/utf8.h"

namespace triax::tasks {
namespace {

// Python's str.isspace().
bool is_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

// \w of Python's re: letters, what is numeric, and the underscore.
bool is_word_character(uint32_t c) {
  if (c == '_') return true;
  const auto code = static_cast<UChar32>(c);
  const uint32_t mask = U_MASK(u_charType(code));
  if (mask & (U_GC_L_MASK | U_GC_N_MASK)) return true;
  return u_getIntPropertyValue(code, UCHAR_NUMERIC_TYPE) != U_NT_NONE;
}

bool is_ascii_punctuation(unsigned char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

bool is_article(std::string_view word) { return word == "a" || word == "an" || word == "the"; }

// Each run of word characters that is an article becomes a space.
std::string without_articles(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size()) {
      const auto c = text::decode_utf8(text, end);
      if (c.code == text::kInvalid || !is_word_character(c.code)) break;
      end += c.length;
    }
    if (end == at) {
      const auto c = text::decode_utf8(text, at);
      out += text.substr(at, c.length);
      at += c.length;
    } else {
      const std::string_view word = text.substr(at, end - at);
      is_article(word) ? out += ' ' : out += word;
      at = end;
    }
  }
  return out;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (size_t at = 0; at < text.size();) {
    const auto c = text::decode_utf8(text, at);
    if (is_space(c.code)) {
      if (!word.empty()) words.push_back(std::move(word));
      word.clear();
    } else {
      word += text.substr(at, c.length);
    }
    at += c.length;
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

void lower(std::string_view text, std::string& out, icu::Edits* edits) {
  UErrorCode status = U_ZERO_ERROR;
  icu::StringByteSink<std::string> sink(&out);
  icu::CaseMap::utf8ToLower("", 0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, edits, status);
  check(U_SUCCESS(status), "a text cannot be lowered: {}", u_errorName(status));
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string out;
  lower(text, out, nullptr);
  return out;
}

LoweredText::LoweredText(std::string_view text) {
  icu::Edits edits;
  lower(text, lowered_, &edits);
  UErrorCode status = U_ZERO_ERROR;
  origins_.resize(lowered_.size());
  for (auto edit = edits.getFineIterator(); edit.next(status);) {
    const int64_t from = edit.sourceIndex(), to = edit.destinationIndex();
    for (int32_t i = 0; i < edit.newLength(); ++i)
      origins_[static_cast<size_t>(to + i)] =
          edit.hasChange() ? ByteRange{from, from + edit.oldLength()} : ByteRange{from + i, from + i + 1};
  }
}

ByteRange LoweredText::origin(size_t begin, size_t end) const { return {origins_[begin].begin, origins_[end - 1].end}; }

std::vector<std::string> answer_words(std::string_view text) {
  std::string kept;
  for (const char c : lower_case(text))
    if (!is_ascii_punctuation(static_cast<unsigned char>(c))) kept += c;
  return words_of(without_articles(kept));
}

std::string normalize_answer(std::string_view text) {
  std::string joined;
  for (const std::string& word : answer_words(text)) joined += (joined.empty() ? "" : " ") + word;
  return joined;
}

}  // namespace triax::tasks
