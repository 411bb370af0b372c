#include "triax/text/unicode_classes.h"

#include <algorithm>
#include <iterator>
#include <map>

namespace triax::text {
namespace {

constexpr uint32_t kRuns[] = {
#include "triax/text/unicode_classes.inc"
};

}  // namespace

UnicodeClasses::UnicodeClasses() {
  using Page = std::array<uint8_t, 128>;
  std::map<Page, uint16_t> known;
  size_t run = 0;
  for (uint32_t page = 0; page < page_of_.size(); ++page) {
    Page classes;
    for (uint32_t i = 0; i < 128; ++i) {
      const uint32_t code = page << 7 | i;
      while (run + 1 < std::size(kRuns) && kRuns[run + 1] >> 2 <= code) ++run;
      classes[i] = kRuns[run] & 3;
    }
    const auto [found, is_new] = known.emplace(classes, static_cast<uint16_t>(known.size()));
    if (is_new) pages_.insert(pages_.end(), classes.begin(), classes.end());
    page_of_[page] = found->second;
  }
}

const UnicodeClasses& UnicodeClasses::instance() {
  static const UnicodeClasses classes;
  return classes;
}

}  // namespace triax::text
