#include "triax/text/pretokenizer.h"

#include <array>

#include "triax/text/unicode_classes.h"
#include "triax/text/utf8.h"

namespace triax::text {
namespace {

struct Classified {
  CharClass kind;
  uint32_t length;
};

constexpr std::array<CharClass, 128> kAscii = [] {
  std::array<CharClass, 128> table{};
  for (size_t c = 0; c < 128; ++c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) table[c] = CharClass::letter;
    if (c >= '0' && c <= '9') table[c] = CharClass::number;
    if (c == ' ' || (c >= '\t' && c <= '\r')) table[c] = CharClass::space;
  }
  return table;
}();

Classified classify(std::string_view text, size_t at) {
  const auto c = static_cast<unsigned char>(text[at]);
  if (c < 128) return {kAscii[c], 1};
  const Utf8Char character = decode_utf8(text, at);
  if (character.code == kInvalid) return {CharClass::other, 1};
  return {UnicodeClasses::instance().of(character.code), character.length};
}

// The length of 's 't 're 've 'm 'll 'd at `at`; 0 if there is none.
size_t contraction(std::string_view text, size_t at) {
  if (text[at] != '\'' || at + 1 == text.size()) return 0;
  const char a = text[at + 1];
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if (at + 2 == text.size()) return 0;
  const char b = text[at + 2];
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

}  // namespace

size_t detail::gpt2_word_end_any(std::string_view text, size_t begin) {
  const size_t n = text.size();
  if (const size_t length = contraction(text, begin); length > 0) return begin + length;

  // An optional plain space, then a run of one class that is not white space.
  size_t at = begin + (text[begin] == ' ' ? 1 : 0);
  if (at < n) {
    Classified c = classify(text, at);
    const CharClass kind = c.kind;
    if (kind != CharClass::space) {
      do {
        at += c.length;
        if (at >= n) return n;
        c = classify(text, at);
      } while (c.kind == kind);
      return at;
    }
  }

  // White space: all of it at the end of the text; else all but the last, which the next word takes
  // or which stands alone.
  size_t last = begin;
  for (at = begin; at < n;) {
    const Classified c = classify(text, at);
    if (c.kind != CharClass::space) return last > begin ? last : at;
    last = at;
    at += c.length;
  }
  return n;
}

size_t safe_cut(std::string_view text, size_t from) {
  for (size_t at = from + 1; at < text.size(); ++at) {
    const auto here = static_cast<unsigned char>(text[at]);
    const auto before = static_cast<unsigned char>(text[at - 1]);
    if (here >= 128 || before >= 128) continue;
    if (kAscii[here] == CharClass::space && kAscii[before] != CharClass::space) return at;
  }
  return text.size();
}

}  // namespace triax::text
