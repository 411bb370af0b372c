// Learns the merges of a byte-level BPE from word counts (Sennrich et al. 2016, section 3.2): merge the
// most frequent pair of neighbours everywhere, again and again. Ties go to the pair with the lower
// ids, as in Hugging Face `tokenizers`, so that the same corpus gives the same vocabulary there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "triax/text/bpe_tokenizer.h"
#include "triax/text/merge_trainer.h"
#include "triax/text/word_counts.h"

namespace triax::text {

struct BpeTrainerOptions {
  int64_t vocab_size = 8192;   // special tokens and the 256 bytes included
  int64_t min_frequency = 2;   // of a pair, to be merged
  std::vector<std::string> special_tokens = {std::string(kEndOfText)};  // get the first ids
  MergeProgress progress = nullptr;
};

// The vocabulary is smaller than asked for where the words run out of pairs. Time is linear in the
// text of the distinct words for each merge that touches them, not in the corpus.
BpeConfig train_bpe(const WordCounts& counts, const BpeTrainerOptions& options);

}  // namespace triax::text
