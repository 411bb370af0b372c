// HTML pages in one file: style, the charts' script and everything else is in it, so that they open offline.
#pragma once

#include <string>
#include <string_view>

namespace triax {

struct HtmlPage {
  std::string title;   // plain text; the page's heading is for the body to give
  std::string body;    // HTML
  std::string style;   // CSS behind what all pages have
  std::string footer;  // plain text, or none
};

std::string draw_page(const HtmlPage& page);

// One number in a box: what it is, its value, a word on it. All plain text; boxes stand in a <div class="tiles">.
std::string draw_tile(std::string_view name, std::string_view value, std::string_view note);

}  // namespace triax
