// Small helpers on strings: numbers with units for people, nearest name for typing mistakes, UTF-8.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace triax {

std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
bool is_blank(std::string_view text);  // nothing but white space of ASCII
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "1.2 GiB", "384 MiB", "12 KiB"
std::string format_bytes(double bytes);
// "124 M", "1.5 B", "8.2 k": counts of parameters and tokens
std::string format_count(double count);
// "3h 12m", "4m 05s", "12s"
std::string format_duration(double seconds);
// "128M", "4G", "512": bytes from text with binary units. Throws Error naming `what`.
uint64_t parse_bytes(std::string_view text, std::string_view what);

// The candidate with the least edit distance to `word`; empty when none is near.
std::string nearest_name(std::string_view word, std::span<const std::string> candidates);

// Byte offset of the first invalid UTF-8 sequence, or npos if the text is valid.
size_t find_invalid_utf8(std::string_view text);

// Text for a column of a tab-separated file: tabs and ends of lines become spaces.
std::string tab_cell(std::string_view text);

// Escapes for HTML text and attribute values.
std::string escape_html(std::string_view text);

}  // namespace triax
