#include "triax/text/bpe_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "triax/base/error.h"
#include "triax/text/byte_level.h"
#include "triax/text/pretokenizer.h"
#include "triax/text/scratch_pool.h"
#include "triax/text/unicode_classes.h"
#include "triax/text/utf8.h"
#include "triax/text/word_cache.h"

namespace triax::text {
namespace {

struct Scratch {
  WordCache cache;
  BpeScratch bpe;
  std::vector<int32_t> ids;
  std::vector<int64_t> begins;
};

class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(BpeConfig config)
      : model_(std::move(config.vocabulary)), added_(config.added), config_(std::move(config)) {
    const auto& v = model_.vocabulary();
    pieces_.assign(v.tokens.begin(), v.tokens.end());
    literal_.assign(v.literal.begin(), v.literal.end());
    for (size_t id = 0; id < v.tokens.size(); ++id)
      if (v.literal[id]) id_of_literal_.emplace(v.tokens[id], static_cast<int32_t>(id));
    for (const AddedToken& token : added_.tokens()) {
      const auto id = static_cast<size_t>(token.id);
      if (id >= pieces_.size()) pieces_.resize(id + 1);
      literal_.resize(pieces_.size(), false);
      special_.resize(pieces_.size(), false);
      pieces_[id] = token.content;
      literal_[id] = true;
      special_[id] = token.special;
      id_of_literal_.emplace(token.content, token.id);
    }
    special_.resize(pieces_.size(), false);
  }

  std::string_view kind() const override { return "byte-level BPE"; }
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

  void append_piece(int32_t id, bool, std::string& out) const override { out += token_bytes(id); }
  std::string_view token_bytes(int32_t id) const override {
    return known(id) ? pieces_[static_cast<size_t>(id)] : std::string_view();
  }
  std::string token_text(int32_t id) const override {
    const std::string_view bytes = token_bytes(id);
    return known(id) && literal_[static_cast<size_t>(id)] ? std::string(bytes) : spell_bytes(bytes);
  }
  std::optional<int32_t> id_of(std::string_view token) const override {
    if (const auto found = id_of_literal_.find(token); found != id_of_literal_.end()) return found->second;
    const auto bytes = unspell_bytes(token);
    const int32_t id = bytes && !bytes->empty() ? model_.find(*bytes) : -1;
    return id < 0 ? std::nullopt : std::optional(id);
  }
  bool starts_word(int32_t id) const override {
    const std::string_view bytes = token_bytes(id);
    if (bytes.empty()) return false;
    return is_special(id) || char_class(decode_utf8(bytes, 0).code) == CharClass::space;
  }
  void save(const std::filesystem::path& directory) const override {
    save_bpe_files(config_, model_.vocabulary(), directory);
  }

 private:
  void encode_segments(std::string_view text, bool with_special, std::vector<int32_t>& ids,
                       std::vector<ByteRange>* offsets) const {
    ScratchPool<Scratch>::Lease scratch(pool_);
    added_.encode(text, with_special, ids, offsets, [&](std::string_view plain, int64_t base) { encode_plain(plain, base, ids, offsets, *scratch); });
  }

  // Text without added tokens: maybe with a space put before it.
  void encode_plain(std::string_view plain, int64_t base, std::vector<int32_t>& ids,
                    std::vector<ByteRange>* offsets, Scratch& scratch) const {
    if (plain.empty()) return;
    if (config_.add_prefix_space && plain[0] != ' ') {
      std::string spaced = " ";
      spaced += plain;
      if (!offsets) return encode_fast(spaced, ids, scratch);
      const size_t first = offsets->size();
      encode_with_offsets(spaced, base - 1, ids, *offsets, scratch);
      for (size_t i = first; i < offsets->size(); ++i)  // the space that was put there has no bytes
        (*offsets)[i] = {std::max((*offsets)[i].begin, base), std::max((*offsets)[i].end, base)};
    } else if (offsets) {
      encode_with_offsets(plain, base, ids, *offsets, scratch);
    } else {
      encode_fast(plain, ids, scratch);
    }
  }

  void encode_fast(std::string_view text, std::vector<int32_t>& ids, Scratch& scratch) const {
    if (!config_.split_words) return model_.encode_word(text, ids, scratch.bpe);
    std::array<int32_t, 1024> buffer;
    size_t used = 0;
    const auto flush = [&] {
      ids.insert(ids.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(used));
      used = 0;
    };
    for (size_t begin = 0, end; begin < text.size(); begin = end) {
      end = gpt2_word_end(text, begin);
      const size_t length = end - begin;
      WordKey key;
      if (length <= WordKey::kMaxBytes) [[likely]] {
        key = WordKey::of(text, begin, length);
        if (const WordCache::Entry* entry = scratch.cache.find(key, length)) [[likely]] {
          std::memcpy(&buffer[used], entry->ids.data(), sizeof entry->ids);
          used += entry->count;
          if (used + WordCache::kMaxIds > buffer.size()) flush();
          continue;
        }
      }
      flush();
      const size_t before = ids.size();
      model_.encode_word(text.substr(begin, length), ids, scratch.bpe);
      if (length <= WordKey::kMaxBytes && ids.size() - before <= WordCache::kMaxIds)
        scratch.cache.insert(key, length, ids.data() + before, ids.size() - before);
    }
    flush();
  }

  void encode_with_offsets(std::string_view text, int64_t base, std::vector<int32_t>& ids,
                           std::vector<ByteRange>& offsets, Scratch& scratch) const {
    for (size_t begin = 0, end; begin < text.size(); begin = end) {
      end = config_.split_words ? gpt2_word_end(text, begin) : text.size();
      scratch.begins.clear();
      model_.encode_word(text.substr(begin, end - begin), ids, scratch.bpe, &scratch.begins);
      const int64_t word = base + static_cast<int64_t>(begin);
      for (size_t i = 0; i < scratch.begins.size(); ++i) {
        const int64_t next = i + 1 < scratch.begins.size() ? scratch.begins[i + 1] : static_cast<int64_t>(end - begin);
        offsets.push_back({word + scratch.begins[i], word + next});
      }
    }
  }

  bool known(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < pieces_.size(); }

  BpeModel model_;
  AddedTokens added_;
  BpeConfig config_;  // its vocabulary has moved to model_
  // By id, added tokens included; the text is in model_ and added_.
  std::vector<std::string_view> pieces_;
  std::vector<bool> literal_, special_;
  std::unordered_map<std::string_view, int32_t> id_of_literal_;
  mutable ScratchPool<Scratch> pool_;
};

}  // namespace

void fill_special_by_name(SpecialTokens& special, const std::vector<AddedToken>& added) {
  const auto fill = [&](std::optional<int32_t>& role, std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names)
      for (const AddedToken& token : added)
        if (!role && token.content == name) role = token.id;
  };
  fill(special.eod, {kEndOfText, "<|end_of_text|>", "</s>", "<eos>", "[SEP]"});
  fill(special.bos, {"<s>", "<bos>", "<|begin_of_text|>", kEndOfText});
  fill(special.eos, {kEndOfText, "</s>", "<eos>", "<|end_of_text|>"});
  fill(special.unk, {"[UNK]", "<unk>"});
  fill(special.pad, {"[PAD]", "<pad>"});
  fill(special.cls, {"[CLS]"});
  fill(special.sep, {"[SEP]"});
  fill(special.mask, {"[MASK]", "<mask>"});
  if (!special.eod) special.eod = special.eos;
}

std::unique_ptr<Tokenizer> make_bpe_tokenizer(BpeConfig config) {
  return std::make_unique<BpeTokenizer>(std::move(config));
}

}  // namespace triax::text
