// The spelling of bytes in GPT-2's vocabulary files: each byte is one printable character. Bytes that
// are printable in Latin-1 (0x21-0x7E, 0xA1-0xAC, 0xAE-0xFF) stand for themselves, the other 68 are
// U+0100, U+0101, ... in ascending order, so that a space is written "Ġ".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace triax::text {

// The code point that spells a byte.
uint32_t byte_level_code(uint8_t byte);

std::string spell_bytes(std::string_view bytes);
// The bytes that are spelled so; nothing if `spelling` has a character outside the 256.
std::optional<std::string> unspell_bytes(std::string_view spelling);

}  // namespace triax::text
