// What the writers of tokenizer files share.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "triax/text/added_tokens.h"
#include "triax/text/tokenizer.h"

namespace triax::text {

// A JSON string. Error naming `path` if the text is not UTF-8.
std::string json_string(const std::filesystem::path& path, std::string_view text);

// {"token":id, ...} in the order of the ids, each entry after `separator`; "" stands for a gap.
std::string vocab_json(const std::filesystem::path& path, const std::vector<std::string>& spellings,
                       std::string_view separator);

// "added_tokens" of tokenizer.json.
std::string added_tokens_json(const std::vector<AddedToken>& added);

// tokenizer_config.json, with `extra` members (name, JSON value), and special_tokens_map.json.
void write_companions(const std::filesystem::path& directory, const std::vector<AddedToken>& added,
                      const SpecialTokens& special, const std::vector<std::pair<std::string, std::string>>& extra);

}  // namespace triax::text
