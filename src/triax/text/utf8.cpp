#include "triax/text/utf8.h"

#include <algorithm>

#include "triax/base/text.h"

namespace triax::text {

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t bad = find_invalid_utf8(text);
    if (bad == std::string_view::npos) {
      out += text;
      break;
    }
    out += text.substr(0, bad);
    out += "\xEF\xBF\xBD";
    text.remove_prefix(bad + decode_utf8(text, bad).length);
  }
  return out;
}

size_t incomplete_utf8_suffix(std::string_view text) {
  // The last lead byte within three bytes of the end decides.
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto c = static_cast<unsigned char>(text[text.size() - back]);
    if ((c & 0xC0) == 0x80) continue;  // a continuation byte: look further back
    if (c < 0xC2 || c > 0xF4) return 0;
    const size_t needed = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    const Utf8Char character = decode_utf8(text, text.size() - back);
    return back < needed && character.code == kInvalid && character.length == back ? back : 0;
  }
  return 0;
}

}  // namespace triax::text
