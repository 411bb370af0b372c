// SentencePiece (Kudo and Richardson 2018): Unigram language models (Kudo 2018) and BPE in .model files, as a
// Tokenizer. Debian's libsentencepiece encodes, so that ids are its ids.
#pragma once

#include <filesystem>
#include <memory>

#include "triax/text/bpe_tokenizer.h"
#include "triax/text/tokenizer.h"

namespace triax::text {

// Roles of tokens, and whether <s> and </s> stand around texts (add_bos_token, add_eos_token), are read from
// tokenizer_config.json and special_tokens_map.json beside it, where they are there.
std::unique_ptr<Tokenizer> parse_sentencepiece(const TextFile& model);

// The .model file in a folder: tokenizer.model, spiece.model, sentencepiece.bpe.model, or the only one there is.
// Empty where there is none.
std::filesystem::path find_sentencepiece(const std::filesystem::path& directory);

}  // namespace triax::text
