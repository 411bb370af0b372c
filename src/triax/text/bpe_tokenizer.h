// Byte-level BPE (GPT-2 and its kin) as a Tokenizer.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "triax/text/added_tokens.h"
#include "triax/text/bpe_model.h"
#include "triax/text/input_template.h"
#include "triax/text/tokenizer.h"

namespace triax::text {

// Everything that makes such a tokenizer: what is in its files.
struct BpeConfig {
  BpeVocabulary vocabulary;
  std::vector<AddedToken> added;
  SpecialTokens special;
  bool split_words = true;        // by GPT-2's pattern; false: the text is one word
  bool add_prefix_space = false;  // before text that does not begin with one
  std::string post_processor;     // JSON, kept for saving; "" for none
  InputTemplate inputs = plain_input_template();  // what it says
};

inline constexpr std::string_view kEndOfText = "<|endoftext|>";

// The roles that well-known names play in a vocabulary, for tokens that nothing else gives a role.
void fill_special_by_name(SpecialTokens& special, const std::vector<AddedToken>& added);

std::unique_ptr<Tokenizer> make_bpe_tokenizer(BpeConfig config);

// A file that has been read: the path names it in errors, and its companions are looked for beside it.
struct TextFile {
  std::filesystem::path path;
  std::string content;
};
std::unique_ptr<Tokenizer> parse_tokenizer_json(const TextFile& file);
std::unique_ptr<Tokenizer> parse_bpe_files(const TextFile& vocab_json, const TextFile& merges_txt);

// Writes all files of the tokenizer. The vocabulary is given apart: that of `config` is not looked at.
void save_bpe_files(const BpeConfig& config, const BpeVocabulary& vocabulary,
                    const std::filesystem::path& directory);

}  // namespace triax::text
