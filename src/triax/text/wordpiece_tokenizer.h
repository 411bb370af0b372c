// WordPiece (Schuster and Nakajima 2012; Wu et al. 2016, section 4.1) with BERT's words, as a Tokenizer:
// each word is cut, from its beginning, into the longest tokens there are; those that do not begin a
// word are spelled "##ing" in the vocabulary. A word with a part that is no token is [UNK] as a whole.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "triax/text/added_tokens.h"
#include "triax/text/bert_words.h"
#include "triax/text/bpe_tokenizer.h"
#include "triax/text/tokenizer.h"

namespace triax::text {

struct WordPieceConfig {
  std::vector<std::string> tokens;  // by id, as they are spelled; "" where the ids have a gap
  std::string unk = "[UNK]";        // in the vocabulary
  std::string prefix = "##";
  int64_t max_word_characters = 100;  // longer words are [UNK]
  bool cleanup = true;                // decoding takes out the space before , . n't and such
  BertNormalization normalization;
  std::vector<AddedToken> added;
  SpecialTokens special;
  std::string post_processor;  // JSON, kept for saving; "" for none
  InputTemplate inputs = plain_input_template();  // what it says
};

// Inputs are [CLS] A [SEP] and [CLS] A [SEP] B [SEP].
void set_bert_inputs(WordPieceConfig& config);

std::unique_ptr<Tokenizer> make_wordpiece_tokenizer(WordPieceConfig config);

// A vocab.txt, one token a line. Lower-cases the text if tokenizer_config.json beside it says so
// (do_lower_case); without one, if no token has an ASCII capital but those in brackets.
std::unique_ptr<Tokenizer> parse_vocab_txt(const TextFile& file);
void save_wordpiece_files(const WordPieceConfig& config, const std::filesystem::path& directory);

}  // namespace triax::text
