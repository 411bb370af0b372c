// What the tokenizers must know of Unicode: classes of characters, for every code point, in the version
// that Hugging Face `tokenizers` uses, whatever ICU this system has.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace triax::text {

// A small number for every code point, in two levels: pages of 128 code points, equal pages stored once.
class CodePointTable {
 public:
  // Runs of equal classes, ascending: first code point << 3 | class.
  explicit CodePointTable(std::span<const uint32_t> runs);
  // 0 for what is no code point.
  uint8_t at(uint32_t code) const {
    return code >= 0x110000 ? 0 : pages_[size_t{page_of_[code >> 7]} << 7 | (code & 127)];
  }

 private:
  std::array<uint16_t, 0x110000 / 128> page_of_{};
  std::vector<uint8_t> pages_;
};

// What the pattern of GPT-2 tells apart.
enum class CharClass : uint8_t { other = 0, letter = 1, number = 2, space = 3 };
// What BERT's normalizer and pre-tokenizer tell apart: control characters are removed, accents
// (nonspacing marks) too where it strips accents.
enum class BertClass : uint8_t { other = 0, removed = 1, space = 2, punctuation = 3, accent = 4 };

// The tables are built on first use (under a millisecond) and never changed.
CharClass char_class(uint32_t code);
BertClass bert_class(uint32_t code);

}  // namespace triax::text
