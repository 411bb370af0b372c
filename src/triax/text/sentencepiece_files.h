// Writing SentencePiece models: the .model as it is, and for Unigram the tokenizer.json of Hugging Face.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "triax/text/added_tokens.h"
#include "triax/text/sentencepiece_model.h"
#include "triax/text/tokenizer.h"

namespace triax::text {

// Writes tokenizer.model (the bytes of `file`), tokenizer.vocab (piece, tab, score) and the companions of
// `transformers`; for Unigram models also tokenizer.json.
void save_sentencepiece_files(const std::string& file, const SentencePieceModel& model, const std::vector<AddedToken>& added,
                              const SpecialTokens& special, const std::filesystem::path& directory);

}  // namespace triax::text
