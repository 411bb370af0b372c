// A new vocabulary in terms of an old one, for models that change theirs: a token that both have is itself; another
// one is the old pieces it splits into, which is where its embedding may begin (their mean; cf. Gee et al. 2022, "Fast
// vocabulary transfer for language model compression", section 3).
#pragma once

#include <cstdint>
#include <vector>

#include "triax/text/tokenizer.h"

namespace triax {

struct VocabularyMap {
  std::vector<std::vector<int32_t>> pieces;  // old ids of each new id; none where the old vocabulary cannot spell it
  int64_t shared = 0;   // tokens of both; special tokens of the same role count as such
  int64_t split = 0;    // made of old pieces
  int64_t without = 0;  // have none
  // Old pieces of a split token, on average.
  double mean_pieces() const;
};

VocabularyMap map_vocabulary(const Tokenizer& from, const Tokenizer& to);

}  // namespace triax
