#include "triax/text/vocabulary_map.h"

#include <string>

namespace triax {
namespace {

using Ids = std::vector<int32_t>;
using Role = std::optional<int32_t> SpecialTokens::*;
constexpr Role kRoles[] = {&SpecialTokens::unk, &SpecialTokens::pad, &SpecialTokens::cls, &SpecialTokens::sep,
                           &SpecialTokens::mask, &SpecialTokens::bos, &SpecialTokens::eos, &SpecialTokens::eod};

class Mapper {
 public:
  Mapper(const Tokenizer& from, const Tokenizer& to)
      : from_(from), to_(to), wordpiece_(from.kind() == "WordPiece"), same_kind_(from.kind() == to.kind()) {}

  // The token of both, if there is one.
  std::optional<int32_t> same(int32_t id) const {
    if (to_.is_special(id))
      for (const Role role : kRoles)
        if (to_.special_tokens().*role == id && from_.special_tokens().*role) return from_.special_tokens().*role;
    if (!same_kind_ && !to_.is_special(id)) return std::nullopt;
    const std::string text = to_.token_text(id);
    return text.empty() ? std::nullopt : from_.id_of(text);
  }

  Ids split(int32_t id) const {
    if (to_.is_special(id)) return {};
    std::string text(to_.token_bytes(id));
    const bool begins = to_.starts_word(id);
    // The old vocabulary may mark where a word begins by a space; WordPiece marks where it goes on.
    if (wordpiece_ && !begins) return inner_pieces(text);
    if (!wordpiece_ && begins && !text.starts_with(' ')) text.insert(text.begin(), ' ');
    return spelled(text);
  }

 private:
  Ids spelled(const std::string& text) const {
    Ids ids = from_.encode(text);
    std::erase_if(ids, [&](int32_t id) { return from_.special_tokens().unk == id; });
    return ids;
  }

  // Inside of a word WordPiece takes the longest "##" piece, and the next; if need be in the letters that the old
  // vocabulary makes of the text (lower case); else as at the beginning of a word.
  Ids inner_pieces(const std::string& text) const {
    if (Ids ids = inner_pieces_of(text); !ids.empty()) return ids;
    const Ids whole = spelled(text);
    std::string letters;
    for (const char c : from_.decode(whole))
      if (c != ' ') letters += c;
    const Ids ids = inner_pieces_of(letters);
    return ids.empty() ? whole : ids;
  }
  Ids inner_pieces_of(const std::string& letters) const {
    Ids ids;
    for (size_t at = 0; at < letters.size();) {
      size_t length = letters.size() - at;
      std::optional<int32_t> found;
      while (length > 0 && !(found = from_.id_of("##" + letters.substr(at, length)))) --length;
      if (!found) return {};
      ids.push_back(*found);
      at += length;
    }
    return ids;
  }

  const Tokenizer &from_, &to_;
  bool wordpiece_, same_kind_;
};

}  // namespace

double VocabularyMap::mean_pieces() const {
  int64_t sum = 0;
  for (const Ids& ids : pieces) sum += static_cast<int64_t>(ids.size());
  return split > 0 ? static_cast<double>(sum - shared) / static_cast<double>(split) : 0;
}

VocabularyMap map_vocabulary(const Tokenizer& from, const Tokenizer& to) {
  const Mapper mapper(from, to);
  VocabularyMap map;
  for (int32_t id = 0; id < to.vocab_size(); ++id) {
    const auto same = mapper.same(id);
    map.pieces.push_back(same ? Ids{*same} : mapper.split(id));
    ++(same ? map.shared : map.pieces.back().empty() ? map.without : map.split);
  }
  return map;
}

}  // namespace triax
