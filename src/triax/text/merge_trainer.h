// Learns merges from words that are cut into symbols (Sennrich et al. 2016, section 3.2): merge the most frequent pair
// of neighbours everywhere, again and again. What byte-level BPE and WordPiece have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "triax/text/bpe_model.h"

namespace triax::text {

struct MergeTraining {
  struct Word {
    uint64_t begin;  // in `symbols`
    uint32_t length;
    int64_t count;
  };
  // Given: the first tokens; the words, as ids of these.
  std::vector<std::string> tokens;
  std::vector<int32_t> symbols;  // of all words
  std::vector<Word> words;
  // What a token that does not begin a word is spelled with ("##"); gone where it is joined to another.
  std::string inner_prefix;
  // Learned: more tokens, and in order:
  std::vector<Merge> merges;
};

// Called after each merge.
using MergeProgress = std::function<void(int64_t vocabulary, int64_t frequency)>;

// Adds tokens until there are `vocab_size`, or no pair occurs `min_frequency` times. Ties go to the pair with the lower
// ids, as in Hugging Face `tokenizers`. Uses up the words.
void learn_merges(MergeTraining& training, int64_t vocab_size, int64_t min_frequency, const MergeProgress& progress);

}  // namespace triax::text
