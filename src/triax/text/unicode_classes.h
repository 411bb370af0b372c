// The four classes of characters that the GPT-2 pattern tells apart, for every code point, in the
// Unicode version that Hugging Face `tokenizers` uses (16.0), whatever ICU this system has.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace triax::text {

enum class CharClass : uint8_t { other = 0, letter = 1, number = 2, space = 3 };

// A two-level table: pages of 128 code points, equal pages stored once.
class UnicodeClasses {
 public:
  CharClass of(uint32_t code) const {
    if (code >= 0x110000) return CharClass::other;
    return static_cast<CharClass>(pages_[size_t{page_of_[code >> 7]} << 7 | (code & 127)]);
  }
  // Built on first use (under a millisecond), never changed.
  static const UnicodeClasses& instance();

 private:
  UnicodeClasses();
  std::array<uint16_t, 0x110000 / 128> page_of_{};
  std::vector<uint8_t> pages_;
};

}  // namespace triax::text
