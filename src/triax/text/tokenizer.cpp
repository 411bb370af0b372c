#include "triax/text/tokenizer.h"

#include "triax/base/error.h"
#include "triax/text/bpe_tokenizer.h"
#include "triax/text/sentencepiece_tokenizer.h"
#include "triax/text/tokenizer_json.h"
#include "triax/text/utf8.h"
#include "triax/text/wordpiece_tokenizer.h"

namespace triax {
namespace fs = std::filesystem;

std::unique_ptr<Tokenizer> text::parse_tokenizer_json(const TextFile& content) {
  const JsonFile file(content);
  const auto model = object_at(file, file.root(), "model");
  check(model.has_value(), "{}: has no \"model\"; is it a tokenizer.json?", file.name());
  // Files older than 2020 have no type; BPE is the model with merges.
  std::string_view type = string_or(file, *model, "type", "");
  if (type.empty() && array_at(file, *model, "merges")) type = "BPE";
  if (type == "BPE") return load_bpe_json(file, *model);
  if (type == "WordPiece") return load_wordpiece_json(file, *model);
  if (type == "Unigram") {
    // What was made from a SentencePiece model is read from that.
    const fs::path directory = content.path.parent_path();
    const fs::path model_file = find_sentencepiece(directory.empty() ? "." : directory);
    check(!model_file.empty(), "{}: is a Unigram model, which triax reads from the .model file of SentencePiece; put it beside this file",
          file.name());
    return parse_sentencepiece(read_text_file(model_file));
  }
  fail("{}: model type \"{}\" is not supported; triax reads byte-level BPE, WordPiece and SentencePiece models", file.name(), type);
}

const InputTemplate& Tokenizer::input_template() const {
  static const InputTemplate plain = plain_input_template();
  return plain;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  encode(text, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, DecodeOptions options) const {
  std::string out;
  bool first = true;
  for (const int32_t id : ids) {
    if (options.skip_special && is_special(id)) continue;
    append_piece(id, first, out);
    first = first && out.empty() && !ends_beginning(id);
  }
  return options.replace_invalid ? text::replace_invalid_utf8(out) : out;
}

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path) {
  const bool is_directory = fs::is_directory(path);
  check(is_directory || fs::exists(path), "{}: no such file or folder", path.string());
  const fs::path directory = is_directory ? path : path.parent_path();
  const fs::path vocab = directory / "vocab.json", merges = directory / "merges.txt";
  const std::string name = is_directory ? "" : path.filename().string();
  if (name == "vocab.json" || name == "merges.txt") {
    for (const fs::path& needed : {vocab, merges})
      check(fs::exists(needed), "{}: not there; a byte-level BPE needs vocab.json and merges.txt together", needed.string());
    return text::parse_bpe_files(text::read_text_file(vocab), text::read_text_file(merges));
  }
  if (name == "vocab.txt") return text::parse_vocab_txt(text::read_text_file(path));
  if (path.extension() == ".model" && !is_directory) return text::parse_sentencepiece(text::read_text_file(path));
  if (!is_directory) return text::parse_tokenizer_json(text::read_text_file(path));
  if (fs::exists(directory / "tokenizer.json"))
    return text::parse_tokenizer_json(text::read_text_file(directory / "tokenizer.json"));
  if (fs::exists(vocab) && fs::exists(merges))
    return text::parse_bpe_files(text::read_text_file(vocab), text::read_text_file(merges));
  if (fs::exists(directory / "vocab.txt")) return text::parse_vocab_txt(text::read_text_file(directory / "vocab.txt"));
  if (const fs::path model = text::find_sentencepiece(directory); !model.empty())
    return text::parse_sentencepiece(text::read_text_file(model));
  fail("{}: holds no tokenizer; there must be tokenizer.json, or vocab.json and merges.txt, or vocab.txt, or a .model of SentencePiece",
       path.string());
}

void save_tokenizer(const Tokenizer& tokenizer, const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  check(!error, "cannot create {}: {}", directory.string(), error.message());
  tokenizer.save(directory);
}

std::string StreamDecoder::push(int32_t id) {
  if (options_.skip_special && tokenizer_->is_special(id)) return {};
  const size_t before = held_.size();
  tokenizer_->append_piece(id, first_, held_);
  first_ = first_ && held_.size() == before && !tokenizer_->ends_beginning(id);
  const size_t complete = held_.size() - (options_.replace_invalid ? text::incomplete_utf8_suffix(held_) : 0);
  std::string out = held_.substr(0, complete);
  held_.erase(0, complete);
  return options_.replace_invalid ? text::replace_invalid_utf8(out) : out;
}

std::string StreamDecoder::finish() {
  std::string out = options_.replace_invalid ? text::replace_invalid_utf8(held_) : held_;
  held_.clear();
  first_ = true;
  return out;
}

}  // namespace triax
