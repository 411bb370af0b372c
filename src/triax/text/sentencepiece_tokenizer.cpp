#include "triax/text/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <unordered_map>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/text/sentencepiece_files.h"
#include "triax/text/sentencepiece_model.h"
#include "triax/text/tokenizer_json.h"

namespace triax::text {
namespace fs = std::filesystem;
namespace {

using Kind = SentencePieceModel::Kind;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, how pieces spell a space

std::string with_spaces(std::string_view piece) {
  std::string out;
  for (size_t at = 0; at < piece.size();) {
    const bool space = piece.substr(at).starts_with(kSpace);
    out += space ? ' ' : piece[at];
    at += space ? kSpace.size() : 1;
  }
  return out;
}

// "<0x0A>" is the byte 10.
std::string byte_of(std::string_view piece) {
  unsigned value = 0;
  if (piece.size() == 6) std::from_chars(piece.data() + 3, piece.data() + 5, value, 16);
  return {static_cast<char>(value)};
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const TextFile& file)
      : name_(file.path.string()), file_(file.content), model_(parse_sentencepiece_model(name_, file.content)) {
    try {
      require(processor_.LoadFromSerializedProto(file_), "cannot be used");
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {  // the library's trie throws errors of its own
      fail("{}: cannot be used: {}", name_, error.what());
    }
    add_pieces();
    find_roles(file.path.parent_path());
  }

  std::string_view kind() const override {
    return model_.type == SentencePieceModel::Type::unigram ? "SentencePiece Unigram" : "SentencePiece BPE";
  }
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  const SpecialTokens& special_tokens() const override { return special_; }
  bool is_special(int32_t id) const override {
    return known(id) && piece(id).kind == Kind::control;
  }
  const InputTemplate& input_template() const override { return inputs_; }

  void encode(std::string_view text, std::vector<int32_t>& ids, std::vector<ByteRange>* offsets) const override {
    encode_plain(text, 0, ids, offsets);
  }
  void encode_with_special(std::string_view text, std::vector<int32_t>& ids,
                           std::vector<ByteRange>* offsets) const override {
    added_.encode(text, true, ids, offsets, [&](std::string_view plain, int64_t base) { encode_plain(plain, base, ids, offsets); });
  }

  void append_piece(int32_t id, bool first, std::string& out) const override {
    if (!known(id)) return;
    std::string_view text = bytes_[static_cast<size_t>(id)];
    if (piece(id).kind == Kind::unknown) text = model_.unk_surface;
    // The space that was put before the text.
    const bool spaced = model_.add_dummy_prefix || model_.remove_extra_whitespaces;
    if (first && spaced && piece(id).text.starts_with(kSpace)) text.remove_prefix(1);
    out += text;
  }
  // Of several spaces at the beginning only one was put there, unless all of them are removed.
  bool ends_beginning(int32_t id) const override {
    return known(id) && piece(id).kind != Kind::control && !model_.remove_extra_whitespaces;
  }
  std::string_view token_bytes(int32_t id) const override {
    return known(id) ? std::string_view(bytes_[static_cast<size_t>(id)]) : std::string_view();
  }
  std::string token_text(int32_t id) const override { return known(id) ? piece(id).text : std::string(); }
  std::optional<int32_t> id_of(std::string_view token) const override {
    const auto found = id_of_.find(token);
    return found == id_of_.end() ? std::nullopt : std::optional(found->second);
  }
  bool starts_word(int32_t id) const override { return known(id) && (is_special(id) || piece(id).text.starts_with(kSpace)); }
  void save(const fs::path& directory) const override { save_sentencepiece_files(file_, model_, added_.tokens(), special_, directory); }

 private:
  void require(const sentencepiece::util::Status& status, std::string_view what) const {
    check(status.ok(), "{}: {}: {}", name_, what, status.message());
  }
  bool known(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < bytes_.size(); }
  const SentencePieceModel::Piece& piece(int32_t id) const { return model_.pieces[static_cast<size_t>(id)]; }

  void add_pieces() {
    std::vector<AddedToken> added;
    for (size_t id = 0; id < model_.pieces.size(); ++id) {
      const auto& piece = model_.pieces[id];
      bytes_.push_back(piece.kind == Kind::byte ? byte_of(piece.text) : with_spaces(piece.text));
      id_of_.emplace(piece.text, static_cast<int32_t>(id));
      if (piece.kind == Kind::control || piece.kind == Kind::unknown)
        added.push_back({.content = piece.text, .id = static_cast<int32_t>(id)});
    }
    added_ = AddedTokens(std::move(added));
  }

  void find_roles(const fs::path& directory) {
    // Those that the model itself names come first.
    const auto role = [](int id) { return id < 0 ? std::nullopt : std::optional<int32_t>(id); };
    special_ = read_roles(directory, added_.tokens(), id_of_);
    if (!special_.unk) special_.unk = role(processor_.unk_id());
    if (!special_.bos) special_.bos = role(processor_.bos_id());
    if (!special_.eos) special_.eos = role(processor_.eos_id());
    if (!special_.pad) special_.pad = role(processor_.pad_id());
    // User-defined pieces such as [SEP] are no added tokens, but have their role as well.
    const std::pair<std::optional<int32_t>*, std::string_view> named[] = {
        {&special_.cls, "[CLS]"}, {&special_.sep, "[SEP]"}, {&special_.mask, "[MASK]"}, {&special_.mask, "<mask>"},
        {&special_.pad, "[PAD]"}};
    for (const auto& [id, name] : named)
      if (!*id) *id = id_of(name);
    if (!special_.eod) special_.eod = special_.eos ? special_.eos : special_.sep;

    inputs_ = bert_input_template(special_);
    if (!fs::exists(directory / "tokenizer_config.json")) return;
    const JsonFile config(read_text_file(directory / "tokenizer_config.json"));
    const auto around = [&](const char* key, const std::optional<int32_t>& id, bool before) {
      if (!id || !bool_or(config, config.root(), key, false)) return;
      for (auto* pieces : {&inputs_.single, &inputs_.pair})
        for (size_t i = 0; i < pieces->size(); ++i) {
          if ((*pieces)[i].part == InputTemplate::Part::special) continue;
          const auto at = pieces->begin() + static_cast<std::ptrdiff_t>(before ? i++ : ++i);
          pieces->insert(at, {InputTemplate::Part::special, 0, *id});
        }
    };
    around("add_bos_token", special_.bos, true);
    around("add_eos_token", special_.eos, false);
  }

  void encode_plain(std::string_view text, int64_t base, std::vector<int32_t>& ids, std::vector<ByteRange>* offsets) const {
    check(text.size() < std::numeric_limits<uint32_t>::max(), "a text of {} bytes is too long for SentencePiece", text.size());
    if (!offsets) {
      std::vector<int> found;
      require(processor_.Encode(text, &found), "cannot encode");
      ids.insert(ids.end(), found.begin(), found.end());
      return;
    }
    sentencepiece::ImmutableSentencePieceText found;
    require(processor_.Encode(text, found.mutable_proto()), "cannot encode");
    for (size_t i = 0; i < found.pieces_size(); ++i) {
      const auto piece = found.pieces(static_cast<int>(i));
      ids.push_back(static_cast<int32_t>(piece.id()));
      offsets->push_back({base + int64_t{piece.begin()}, base + int64_t{piece.end()}});
    }
  }

  std::string name_;
  std::string file_;  // as it was read, for saving
  SentencePieceModel model_;
  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> bytes_;  // of each piece
  Spellings id_of_;                 // keys point into model_
  AddedTokens added_;
  SpecialTokens special_;
  InputTemplate inputs_;
};

}  // namespace

std::unique_ptr<Tokenizer> parse_sentencepiece(const TextFile& model) { return std::make_unique<SentencePieceTokenizer>(model); }

fs::path find_sentencepiece(const fs::path& directory) {
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"})
    if (fs::exists(directory / name)) return directory / name;
  std::vector<fs::path> found;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(directory, none))
    if (entry.path().extension() == ".model" && entry.is_regular_file()) found.push_back(entry.path());
  check(found.size() <= 1, "{}: holds several .model files; name the one to read", directory.string());
  return found.empty() ? fs::path() : found[0];
}

}  // namespace triax::text
