#include "triax/text/added_tokens.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "triax/text/unicode_classes.h"
#include "triax/text/utf8.h"

namespace triax::text {
namespace {

size_t previous_char(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && at - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return decode_utf8(text, begin).length == at - begin ? begin : at - 1;
}

bool is_space(std::string_view text, size_t at) {
  return UnicodeClasses::instance().of(decode_utf8(text, at).code) == CharClass::space;
}

// \w of regular expressions: letters, marks, digits, connector punctuation.
bool is_word_char(std::string_view text, size_t at) {
  const uint32_t code = decode_utf8(text, at).code;
  if (code == kInvalid) return false;
  const auto c = static_cast<UChar32>(code);
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].content.empty()) continue;
    by_first_byte_[static_cast<unsigned char>(tokens_[i].content[0])].push_back(i);
    if (!tokens_[i].special) any_ordinary_ = true;
  }
  for (auto& indices : by_first_byte_)
    std::stable_sort(indices.begin(), indices.end(), [&](uint32_t a, uint32_t b) {
      return tokens_[a].content.size() > tokens_[b].content.size();
    });
}

const AddedToken* AddedTokens::match(std::string_view text, bool with_special, bool normalized) const {
  for (const uint32_t i : by_first_byte_[static_cast<unsigned char>(text[0])]) {
    const AddedToken& token = tokens_[i];
    if (token.normalized == normalized && (with_special || !token.special) && text.starts_with(token.content))
      return &token;
  }
  return nullptr;
}

void AddedTokens::split_pass(std::string_view text, Segment plain, bool with_special, bool normalized,
                             std::vector<Segment>& out) const {
  const std::string_view bounded = text.substr(0, plain.end);
  size_t from = plain.begin;  // of the plain text not yet given out
  for (size_t at = plain.begin; at < plain.end;) {
    if (by_first_byte_[static_cast<unsigned char>(text[at])].empty()) {
      ++at;
      continue;
    }
    const AddedToken* token = match(bounded.substr(at), with_special, normalized);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->single_word && ((begin > plain.begin && is_word_char(bounded, previous_char(bounded, begin))) ||
                               (end < plain.end && is_word_char(bounded, end))))
      continue;
    while (token->lstrip && begin > from && is_space(bounded, previous_char(bounded, begin)))
      begin = previous_char(bounded, begin);
    while (token->rstrip && end < plain.end && is_space(bounded, end)) end += decode_utf8(bounded, end).length;
    if (begin > from) out.push_back({from, begin, -1});
    out.push_back({begin, end, token->id});
    from = at = end;
  }
  if (plain.end > from) out.push_back({from, plain.end, -1});
}

std::vector<Segment> AddedTokens::split(std::string_view text, bool with_special) const {
  std::vector<Segment> first, second;
  if (text.empty()) return first;
  split_pass(text, {0, text.size(), -1}, with_special, false, first);
  for (const Segment& segment : first) {
    if (segment.id >= 0)
      second.push_back(segment);
    else
      split_pass(text, segment, with_special, true, second);
  }
  return second;
}

}  // namespace triax::text
