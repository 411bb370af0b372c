// Tags of words as labels of sub-tokens, and back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "triax/tasks/cases.h"
#include "triax/tasks/entities.h"
#include "triax/tasks/windows.h"
#include "triax/text/tokenizer.h"

namespace triax::tasks {

enum class SubtokenLabels {
  first,  // the first sub-token of a word carries its label, the others none
  all     // every sub-token carries it; B- becomes I- and S- E- after the first (Lee et al. 2020, "X" aside)
};

constexpr int32_t kNoLabel = -1;  // takes no part in the loss

// The sub-tokens of a sentence of words. A word without any (a control character) becomes [UNK], so that
// every word can be predicted.
struct SubtokenSentence {
  std::vector<int32_t> ids;
  std::vector<int32_t> word;         // of each sub-token
  std::vector<int32_t> first;        // first sub-token of each word
  std::vector<uint8_t> starts_word;  // 1 at each word's first sub-token
};
SubtokenSentence tokenize_words(const Tokenizer& tokenizer, std::span<const std::string> words);

// A label a sub-token, kNoLabel where it has none. Tags must be in `labels`; with `all` the I- (E-) form
// of a tag is used where the set has it.
std::vector<int32_t> subtoken_labels(const SubtokenSentence& sentence, std::span<const std::string> tags,
                                     const LabelSet& labels, SubtokenLabels which);

// One predicted label a sub-token of each window -> a tag a word, repaired: each word's is that of its
// first sub-token in the window that sees most around it; a tag that cannot stand where it does begins an
// entity, as conlleval reads it.
std::vector<std::string> word_tags(const SubtokenSentence& sentence, std::span<const TokenWindow> windows,
                                   std::span<const std::vector<int32_t>> predicted, const LabelSet& labels, TagScheme scheme);

}  // namespace triax::tasks
