#include "triax/text/wordpiece_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "triax/base/error.h"
#include "triax/text/scratch_pool.h"
#include "triax/text/word_cache.h"

namespace triax::text {
namespace {

class WordPieceTokenizer final : public Tokenizer {
 public:
  explicit WordPieceTokenizer(WordPieceConfig config) : config_(std::move(config)), added_(config_.added) {
    pieces_.assign(config_.tokens.begin(), config_.tokens.end());
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const std::string_view token = pieces_[i];
      if (token.empty()) continue;
      const auto id = static_cast<int32_t>(i);
      id_of_.emplace(token, id);
      if (token.size() > config_.prefix.size() && token.starts_with(config_.prefix))
        inner_.emplace(token.substr(config_.prefix.size()), id);
      longest_ = std::max(longest_, token.size());
    }
    const auto unk = id_of_.find(config_.unk);
    check(unk != id_of_.end(), "the unknown token \"{}\" is not in the vocabulary", config_.unk);
    unk_ = unk->second;
    for (const AddedToken& token : added_.tokens()) {
      const auto id = static_cast<size_t>(token.id);
      if (id >= pieces_.size()) pieces_.resize(id + 1);
      special_.resize(pieces_.size(), false);
      pieces_[id] = token.content;
      special_[id] = token.special;
      id_of_.emplace(token.content, token.id);
    }
    special_.resize(pieces_.size(), false);
  }

  std::string_view kind() const override { return "WordPiece"; }
  int64_t vocab_size() const override { return static_cast<int64_t>(pieces_.size()); }
  const SpecialTokens& special_tokens() const override { return config_.special; }
  const InputTemplate& input_template() const override { return config_.inputs; }
  bool is_special(int32_t id) const override { return known(id) && special_[static_cast<size_t>(id)]; }

  void encode(std::string_view text, std::vector<int32_t>& ids, std::vector<ByteRange>* offsets) const override {
    encode_segments(text, false, ids, offsets);
  }
  void encode_with_special(std::string_view text, std::vector<int32_t>& ids,
                           std::vector<ByteRange>* offsets) const override {
    encode_segments(text, true, ids, offsets);
  }

  void append_piece(int32_t id, bool first, std::string& out) const override {
    if (!known(id)) return;
    std::string_view token = pieces_[static_cast<size_t>(id)];
    if (!first && is_inner(id))
      token.remove_prefix(config_.prefix.size());
    else if (!first && !(config_.cleanup && leans_left(token)))
      out += ' ';
    out += token;
  }
  std::string_view token_bytes(int32_t id) const override {
    if (!known(id)) return {};
    std::string_view token = pieces_[static_cast<size_t>(id)];
    if (is_inner(id)) token.remove_prefix(config_.prefix.size());
    return token;
  }
  std::string token_text(int32_t id) const override {
    return known(id) ? std::string(pieces_[static_cast<size_t>(id)]) : std::string();
  }
  std::optional<int32_t> id_of(std::string_view token) const override {
    const auto found = id_of_.find(token);
    return found == id_of_.end() ? std::nullopt : std::optional(found->second);
  }
  bool starts_word(int32_t id) const override {
    return known(id) && !pieces_[static_cast<size_t>(id)].empty() && !is_inner(id);
  }
  void save(const std::filesystem::path& directory) const override { save_wordpiece_files(config_, directory); }

 private:
  using IdOf = std::unordered_map<std::string_view, int32_t>;

  bool known(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < pieces_.size(); }
  bool is_inner(int32_t id) const {
    const std::string_view token = pieces_[static_cast<size_t>(id)];
    return !special_[static_cast<size_t>(id)] && token.size() > config_.prefix.size() && token.starts_with(config_.prefix);
  }
  // What is written without a space before it.
  static bool leans_left(std::string_view token) {
    for (const std::string_view start : {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"})
      if (token.starts_with(start)) return true;
    return false;
  }

  void encode_segments(std::string_view text, bool with_special, std::vector<int32_t>& ids,
                       std::vector<ByteRange>* offsets) const {
    added_.encode(text, with_special, ids, offsets, [&](std::string_view plain, int64_t base) { encode_plain(plain, base, ids, offsets); });
  }

  void encode_plain(std::string_view text, int64_t base, std::vector<int32_t>& ids, std::vector<ByteRange>* offsets) const {
    BertWords words(text, config_.normalization);
    std::vector<size_t> ends;  // in the word, of each of its pieces
    if (!offsets) return encode_fast(words, ids, ends);
    words.track_origins();
    while (words.next()) {
      ends.clear();
      encode_word(words.word(), ids, ends);
      size_t begin = 0;
      for (const size_t end : ends) {
        offsets->push_back({base + words.origins()[begin].begin, base + words.origins()[end - 1].end});
        begin = end;
      }
    }
  }

  // Most words were seen before.
  void encode_fast(BertWords& words, std::vector<int32_t>& ids, std::vector<size_t>& ends) const {
    ScratchPool<WordCache>::Lease cache(pool_);
    while (words.next()) {
      const std::string_view word = words.word();
      WordKey key;
      const bool is_short = word.size() <= WordKey::kMaxBytes;
      if (is_short) {
        key = WordKey::of(word, 0, word.size());
        if (const WordCache::Entry* entry = (*cache).find(key, word.size())) {
          ids.insert(ids.end(), entry->ids.begin(), entry->ids.begin() + entry->count);
          continue;
        }
      }
      const size_t before = ids.size();
      ends.clear();
      encode_word(word, ids, ends);
      if (is_short && ids.size() - before <= WordCache::kMaxIds)
        (*cache).insert(key, word.size(), ids.data() + before, ids.size() - before);
    }
  }

  void encode_word(std::string_view word, std::vector<int32_t>& ids, std::vector<size_t>& ends) const {
    const size_t first = ids.size();
    if (!too_long(word)) {
      for (size_t begin = 0; begin < word.size();) {
        const auto [id, length] = longest_piece(word.substr(begin), begin == 0 ? id_of_ : inner_);
        if (length == 0) break;
        ids.push_back(id);
        ends.push_back(begin += length);
      }
      if (!ends.empty() && ends.back() == word.size()) return;
    }
    ids.resize(first);
    ids.push_back(unk_);
    ends.assign(1, word.size());
  }

  bool too_long(std::string_view word) const {
    const auto characters = std::count_if(word.begin(), word.end(), [](char c) { return (c & 0xC0) != 0x80; });
    return characters > config_.max_word_characters;
  }

  struct Piece {
    int32_t id;
    size_t length;  // 0: none
  };
  Piece longest_piece(std::string_view rest, const IdOf& tokens) const {
    for (size_t length = std::min(rest.size(), longest_); length > 0; --length) {
      if (length < rest.size() && (rest[length] & 0xC0) == 0x80) continue;  // within a character
      if (const auto found = tokens.find(rest.substr(0, length)); found != tokens.end()) return {found->second, length};
    }
    return {0, 0};
  }

  WordPieceConfig config_;
  AddedTokens added_;
  std::vector<std::string_view> pieces_;  // by id, added tokens included; the text is in config_ and added_
  std::vector<bool> special_;
  IdOf id_of_, inner_;  // inner_: without the prefix
  size_t longest_ = 0;  // token, in bytes
  int32_t unk_ = 0;
  mutable ScratchPool<WordCache> pool_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_wordpiece_tokenizer(WordPieceConfig config) {
  return std::make_unique<WordPieceTokenizer>(std::move(config));
}

}  // namespace triax::text
