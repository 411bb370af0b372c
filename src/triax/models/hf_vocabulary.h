// Another vocabulary for a model in the files of Hugging Face (BERT or GPT-2, with any head).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "triax/text/vocabulary_map.h"

namespace triax {

// The tensors of a directory that have a row, or a number, for each token: the embedding, a decoder of its own,
// the decoder's bias. Empty when there is no embedding.
std::vector<std::string> hf_vocabulary_tensors(const std::filesystem::path& directory);

// Writes `model` with the vocabulary `to` into the existing folder `output`: config.json, model.safetensors and the
// tokenizer. Rows of tokens that both vocabularies have are kept bit for bit; those of others are the mean of their old
// pieces' rows, or of all rows where they have none; everything else is copied.
void transfer_hf_vocabulary(const std::filesystem::path& model, const VocabularyMap& map, const Tokenizer& to,
                            const std::filesystem::path& output);

}  // namespace triax
