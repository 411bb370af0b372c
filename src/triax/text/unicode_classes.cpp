#include "triax/text/unicode_classes.h"

#include <map>

namespace triax::text {
namespace {

constexpr uint32_t kGpt2Runs[] = {
#include "triax/text/gpt2_classes.inc"
};
constexpr uint32_t kBertRuns[] = {
#include "triax/text/bert_classes.inc"
};

}  // namespace

CodePointTable::CodePointTable(std::span<const uint32_t> runs) {
  using Page = std::array<uint8_t, 128>;
  std::map<Page, uint16_t> known;
  size_t run = 0;
  for (uint32_t page = 0; page < page_of_.size(); ++page) {
    Page classes;
    for (uint32_t i = 0; i < 128; ++i) {
      const uint32_t code = page << 7 | i;
      while (run + 1 < runs.size() && runs[run + 1] >> 3 <= code) ++run;
      classes[i] = runs[run] & 7;
    }
    const auto [found, is_new] = known.emplace(classes, static_cast<uint16_t>(known.size()));
    if (is_new) pages_.insert(pages_.end(), classes.begin(), classes.end());
    page_of_[page] = found->second;
  }
}

CharClass char_class(uint32_t code) {
  static const CodePointTable table(kGpt2Runs);
  return static_cast<CharClass>(table.at(code));
}

BertClass bert_class(uint32_t code) {
  static const CodePointTable table(kBertRuns);
  return static_cast<BertClass>(table.at(code));
}

}  // namespace triax::text
