// Learns a Unigram vocabulary (Kudo 2018, "Subword regularization") with the trainer of SentencePiece, from counts of
// words: memory is that of the distinct words, whatever the corpus.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "triax/text/word_counts.h"

namespace triax::text {

struct UnigramTrainerOptions {
  int64_t vocab_size = 8000;             // <unk>, <s>, </s> and special tokens included
  std::vector<std::string> special_tokens{};  // pieces that no text is cut into; after <unk>, <s>, </s>
  double character_coverage = 0.9995;    // share of the characters of the text that become pieces
  std::string normalization = "nmt_nfkc";  // or nfkc, nmt_nfkc_cf, nfkc_cf (lower-cased), identity
  bool byte_fallback = false;            // characters without a piece are spelled by bytes, not <unk>
};

// The .model file. `counts` are of WordRule::spaces. The result does not depend on the number of cores.
std::string train_unigram(const WordCounts& counts, const UnigramTrainerOptions& options);

}  // namespace triax::text
