// UTF-8, one character at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace triax::text {

constexpr uint32_t kInvalid = 0xFFFFFFFF;

// One decoded character: its code point and how many bytes it took. Where the bytes are not UTF-8,
// `code` is kInvalid and `length` is that of the maximal bad prefix (Unicode 3.9, "substitution of
// maximal subparts"): what one U+FFFD stands for.
struct Utf8Char {
  uint32_t code;
  uint32_t length;
};

// The character at text[at]; at < text.size().
inline Utf8Char decode_utf8(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> uint32_t {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
  };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xC2 || lead > 0xF4) return {kInvalid, 1};
  const uint32_t extra = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  // The second byte has a narrower range after some leads: no overlong forms, surrogates, or
  // code points above U+10FFFF.
  const uint32_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint32_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return {kInvalid, 1};
  uint32_t code = (lead & (0x3Fu >> extra)) << 6 | (byte(1) & 0x3F);
  for (uint32_t i = 2; i <= extra; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {kInvalid, i};
    code = code << 6 | (byte(i) & 0x3F);
  }
  return {code, extra + 1};
}

inline void append_utf8(uint32_t code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

// `text` with every maximal bad subsequence replaced by U+FFFD.
std::string replace_invalid_utf8(std::string_view text);

// How many bytes at the end of `text` are the beginning of a UTF-8 sequence that more bytes could
// complete (0 to 3).
size_t incomplete_utf8_suffix(std::string_view text);

}  // namespace triax::text
