// The few JSON forms that this module writes by hand, because their bytes are fixed by a format or are
// hashed.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace triax {

// A JSON string with quotes; only what must be escaped is (as serde_json does). The text must be UTF-8.
inline std::string json_string(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    switch (c) {
      case '"': json += "\\\""; break;
      case '\\': json += "\\\\"; break;
      case '\b': json += "\\b"; break;
      case '\f': json += "\\f"; break;
      case '\n': json += "\\n"; break;
      case '\r': json += "\\r"; break;
      case '\t': json += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          json += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          json += c;
        }
    }
  }
  return json + "\"";
}

// "[1,2,3]"
template <typename Numbers>
std::string json_list(const Numbers& numbers) {
  return fmt::format("[{}]", fmt::join(numbers.begin(), numbers.end(), ","));
}

}  // namespace triax
