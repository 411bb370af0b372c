#include "triax/text/byte_level.h"

#include <array>

#include "triax/text/utf8.h"

namespace triax::text {
namespace {

constexpr uint32_t kCodes = 256 + 68;

struct Alphabet {
  std::array<uint16_t, 256> code{};
  std::array<int16_t, kCodes> byte{};
};

constexpr Alphabet kAlphabet = [] {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte) byte = -1;
  uint16_t next = 256;
  for (uint16_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    alphabet.code[b] = printable ? b : next++;
    alphabet.byte[alphabet.code[b]] = static_cast<int16_t>(b);
  }
  return alphabet;
}();

}  // namespace

uint32_t byte_level_code(uint8_t byte) { return kAlphabet.code[byte]; }

std::string spell_bytes(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(byte_level_code(static_cast<uint8_t>(c)), out);
  return out;
}

std::optional<std::string> unspell_bytes(std::string_view spelling) {
  std::string out;
  for (size_t at = 0; at < spelling.size();) {
    const Utf8Char c = decode_utf8(spelling, at);
    if (c.code >= kCodes || kAlphabet.byte[c.code] < 0) return std::nullopt;
    out += static_cast<char>(kAlphabet.byte[c.code]);
    at += c.length;
  }
  return out;
}

}  // namespace triax::text
