// Learns a WordPiece vocabulary as Hugging Face `tokenizers` does for BERT: merges of the most frequent pairs, where
// what does not begin a word is spelled with "##" in front. (The original trainer, which chose by likelihood
// (Schuster and Nakajima 2012), was never published.)
//
// The tokens are those of `tokenizers` but for ties: it numbers the inner characters in the order of a hash table,
// another in each run, and ties go by these numbers. Here they are in the order of Unicode.
#pragma once

#include "triax/text/merge_trainer.h"
#include "triax/text/word_counts.h"
#include "triax/text/wordpiece_tokenizer.h"

namespace triax::text {

struct WordPieceTrainerOptions {
  int64_t vocab_size = 30522;  // special tokens and characters included
  int64_t min_frequency = 2;   // of a pair, to be merged
  int64_t alphabet = 1000;     // distinct characters that are kept, the most frequent
  std::vector<std::string> special_tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};  // get the first ids
  BertNormalization normalization{};  // as the words were counted
  MergeProgress progress = nullptr;
};

WordPieceConfig train_wordpiece(const WordCounts& counts, const WordPieceTrainerOptions& options);

}  // namespace triax::text
