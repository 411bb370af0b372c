#include "triax/text/bert_words.h"

#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/unistr.h>

#include <span>
#include <vector>

#include "triax/base/error.h"
#include "triax/text/unicode_classes.h"
#include "triax/text/utf8.h"

namespace triax::text {
namespace {

// The blocks that BERT takes for Chinese; the last but two begins where the reference code has it.
bool is_chinese(uint32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

const icu::Normalizer2& nfd() {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* instance = icu::Normalizer2::getNFDInstance(status);
  check(U_SUCCESS(status) && instance != nullptr, "ICU cannot decompose characters: {}", u_errorName(status));
  return *instance;
}

// Canonical decomposition without accents, then lower case, each character by itself.
icu::UnicodeString transform(uint32_t code, const BertNormalization& how) {
  const auto c = static_cast<UChar32>(code);
  icu::UnicodeString text(c);
  if (how.strips()) {
    icu::UnicodeString decomposed;
    if (nfd().getDecomposition(c, decomposed)) text = decomposed;
    icu::UnicodeString kept;
    for (int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1))
      if (bert_class(static_cast<uint32_t>(text.char32At(i))) != BertClass::accent) kept.append(text.char32At(i));
    text = kept;
  }
  if (!how.lowercase) return text;
  icu::UnicodeString lowered;
  for (int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1))
    lowered.append(icu::UnicodeString(text.char32At(i)).toLower(icu::Locale::getRoot()));
  return lowered;
}

// The transforms of the characters that most text is made of, worked out once: up to Kana.
class TransformTable {
 public:
  static constexpr uint32_t kEnd = 0x3100;

  explicit TransformTable(const BertNormalization& how) : begins_(kEnd + 1) {
    for (uint32_t code = 0; code < kEnd; ++code) {
      begins_[code] = static_cast<uint32_t>(codes_.size());
      const icu::UnicodeString text = transform(code, how);
      for (int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1)) codes_.push_back(static_cast<uint32_t>(text.char32At(i)));
    }
    begins_[kEnd] = static_cast<uint32_t>(codes_.size());
  }
  std::span<const uint32_t> of(uint32_t code) const {
    return std::span(codes_).subspan(begins_[code], begins_[code + 1] - begins_[code]);
  }

 private:
  std::vector<uint32_t> begins_, codes_;
};

template <bool strip, bool lower>
const TransformTable& transform_table_of() {
  static const TransformTable table({.strip_accents = strip, .lowercase = lower});
  return table;
}

const TransformTable& transform_table(const BertNormalization& how) {
  if (!how.strips()) return transform_table_of<false, true>();
  return how.lowercase ? transform_table_of<true, true>() : transform_table_of<true, false>();
}

// Characters that have neither case nor a decomposition.
bool is_unified_ideograph(uint32_t c) { return (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF); }

}  // namespace

void BertWords::append(uint32_t code, size_t begin, size_t end) {
  append_utf8(code, word_);
  if (tracking_) origins_.resize(word_.size(), {static_cast<int64_t>(begin), static_cast<int64_t>(end)});
}

// One character after normalization.
BertWords::Step BertWords::take_normalized(uint32_t code, bool alone, size_t begin, size_t end) {
  const BertClass kind = bert_class(code);
  if (kind == BertClass::space && !alone) return word_.empty() ? Step::goes_on : Step::done;
  if (kind == BertClass::punctuation || alone) {
    if (!word_.empty()) return Step::done_before;
    append(code, begin, end);
    return Step::done;
  }
  append(code, begin, end);
  return Step::goes_on;
}

// One character of the text.
BertWords::Step BertWords::take_character() {
  const size_t begin = at_;
  const auto byte = static_cast<unsigned char>(text_[begin]);
  if (byte < 128) {
    ++at_;
    if (how_.clean_text && bert_class(byte) == BertClass::removed) return Step::goes_on;
    const bool lower = how_.lowercase && byte >= 'A' && byte <= 'Z';
    const Step step = take_normalized(lower ? byte + 32u : byte, false, begin, at_);
    if (step == Step::done_before) at_ = begin;
    return step;
  }
  Utf8Char c = decode_utf8(text_, begin);
  at_ += c.length;
  if (c.code == kInvalid) c.code = 0xFFFD;
  if (how_.clean_text && bert_class(c.code) == BertClass::removed) return Step::goes_on;
  const bool alone = how_.handle_chinese_chars && is_chinese(c.code);
  const auto add = [&](uint32_t code) { pending_.push_back({code, alone, begin, at_}); };
  if ((!how_.strips() && !how_.lowercase) || is_unified_ideograph(c.code)) {
    add(c.code);
    return Step::goes_on;
  }
  if (c.code < TransformTable::kEnd) {
    for (const uint32_t code : transform_table(how_).of(c.code)) add(code);
    return Step::goes_on;
  }
  const icu::UnicodeString normalized = transform(c.code, how_);
  for (int32_t i = 0; i < normalized.length(); i = normalized.moveIndex32(i, 1))
    add(static_cast<uint32_t>(normalized.char32At(i)));
  return Step::goes_on;
}

bool BertWords::next() {
  word_.clear();
  origins_.clear();
  for (;;) {
    for (; next_pending_ < pending_.size(); ++next_pending_) {
      const Pending& p = pending_[next_pending_];
      const Step step = take_normalized(p.code, p.alone, p.begin, p.end);
      if (step == Step::goes_on) continue;
      if (step == Step::done) ++next_pending_;
      return true;
    }
    pending_.clear();
    next_pending_ = 0;
    if (at_ >= text_.size()) return !word_.empty();
    if (take_character() != Step::goes_on) return true;
  }
}

}  // namespace triax::text
