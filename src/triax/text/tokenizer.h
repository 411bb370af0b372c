// Text to token ids and back: the one interface behind which byte-level BPE (GPT-2), WordPiece (BERT)
// and SentencePiece live. Ids, files and results are those of Hugging Face `tokenizers`.
//
// All members are const and may be called from many threads at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace triax {

// Bytes [begin, end) of the text that was given to encode().
struct ByteRange {
  int64_t begin = 0;
  int64_t end = 0;
  static ByteRange of(size_t begin, size_t end) { return {static_cast<int64_t>(begin), static_cast<int64_t>(end)}; }
  bool operator==(const ByteRange&) const = default;
};

// The ids of the tokens that have a role; absent where the vocabulary has none.
struct SpecialTokens {
  std::optional<int32_t> eod;   // end of document: <|endoftext|>, or </s>; BERT vocabularies: [SEP]
  std::optional<int32_t> bos;   // begin of text
  std::optional<int32_t> eos;   // end of text
  std::optional<int32_t> unk;   // what the vocabulary cannot spell
  std::optional<int32_t> pad;
  std::optional<int32_t> cls;   // [CLS]
  std::optional<int32_t> sep;   // [SEP]
  std::optional<int32_t> mask;  // [MASK]
};

struct DecodeOptions {
  bool skip_special = false;    // leave special tokens out of the text
  bool replace_invalid = true;  // bytes that are not UTF-8 become U+FFFD; false: raw bytes
};

struct InputTemplate;  // text/input_template.h

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // "byte-level BPE", "WordPiece", ...
  virtual std::string_view kind() const = 0;
  // One more than the largest id, added tokens included. A model may pad its embedding beyond it.
  virtual int64_t vocab_size() const = 0;
  virtual const SpecialTokens& special_tokens() const = 0;
  virtual bool is_special(int32_t id) const = 0;
  // What a model is given around its texts, nothing by default; encode_inputs() (text/model_input.h)
  // applies it.
  virtual const InputTemplate& input_template() const;

  // Appends the ids of `text`, which may hold any bytes (those that are not UTF-8 are kept by
  // byte-level BPE, and count as U+FFFD elsewhere). The text is plain: "<|endoftext|>" in it is
  // spelled out, no [CLS] or [SEP] is added. With `offsets`, the bytes each id stands for are
  // appended there.
  virtual void encode(std::string_view text, std::vector<int32_t>& ids,
                      std::vector<ByteRange>* offsets = nullptr) const = 0;
  // The same, but the special and added tokens that stand in the text become their ids.
  virtual void encode_with_special(std::string_view text, std::vector<int32_t>& ids,
                                   std::vector<ByteRange>* offsets = nullptr) const = 0;
  std::vector<int32_t> encode(std::string_view text) const;

  // What `id` adds to a decoded text; `first` tells whether the text is still empty (WordPiece puts a
  // space before words that are not). May end within a UTF-8 sequence. Ids outside the vocabulary add
  // nothing.
  virtual void append_piece(int32_t id, bool first, std::string& out) const = 0;
  // Whether the text is no longer at its beginning after this token although it may have added nothing.
  virtual bool ends_beginning(int32_t) const { return false; }
  // Defined for any ids.
  std::string decode(std::span<const int32_t> ids, DecodeOptions options = {}) const;

  // The bytes of text a token stands for (" the", "ing"); empty outside the vocabulary. Valid while
  // the tokenizer lives.
  virtual std::string_view token_bytes(int32_t id) const = 0;
  // A token as the vocabulary file spells it ("Ġthe", "##ing"), and back.
  virtual std::string token_text(int32_t id) const = 0;
  virtual std::optional<int32_t> id_of(std::string_view token) const = 0;
  // Whether a word begins with this token (WordPiece: no "##"; BPE: it starts with white space or is
  // special). Used for whole-word masking.
  virtual bool starts_word(int32_t id) const = 0;

  // Writes the files below into an existing folder; see save_tokenizer().
  virtual void save(const std::filesystem::path& directory) const = 0;
};

// Reads a tokenizer from a folder that holds tokenizer.json, or vocab.json + merges.txt, or vocab.txt,
// or a .model of SentencePiece; or from one of these files by name. Throws Error naming the file and what is wrong in it.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

// Creates `directory` where needed and writes tokenizer.json, tokenizer_config.json,
// special_tokens_map.json and the model's own files (vocab.json + merges.txt, vocab.txt, tokenizer.model), which
// Hugging Face `tokenizers` and `transformers` load with the same ids.
void save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& directory);

// Text from ids that arrive one by one, as from a model that generates: holds back the bytes of an
// incomplete UTF-8 sequence, so that every piece given out is whole characters.
// The tokenizer must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options = {})
      : tokenizer_(&tokenizer), options_(options) {}
  // The text that has become complete with this id; may be empty.
  std::string push(int32_t id);
  // What was held back, at the end of the text; the decoder is then as new.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  std::string held_;
  bool first_ = true;
};

}  // namespace triax
