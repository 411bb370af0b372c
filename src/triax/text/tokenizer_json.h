// What the readers of tokenizer.json and its companions share. Includes simdjson: for sources only.
#pragma once

#include <simdjson.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "triax/text/added_tokens.h"
#include "triax/text/bpe_tokenizer.h"
#include "triax/text/input_template.h"
#include "triax/text/tokenizer.h"

namespace triax::text {

namespace dom = simdjson::dom;

TextFile read_text_file(const std::filesystem::path& path);

// A parsed JSON file. Errors name the file.
class JsonFile {
 public:
  explicit JsonFile(TextFile file);
  // The top, which must be an object.
  dom::object root() const { return root_; }
  std::string name() const { return path_.string(); }
  size_t size() const { return size_; }

 private:
  std::filesystem::path path_;
  dom::parser parser_;
  dom::object root_;
  size_t size_ = 0;
};

// Members with a default for those that are absent or null; Error if the type is wrong.
bool bool_or(const JsonFile& file, dom::object object, std::string_view key, bool fallback);
std::string_view string_or(const JsonFile& file, dom::object object, std::string_view key, std::string_view fallback);
// Absent and null give nothing.
std::optional<dom::object> object_at(const JsonFile& file, dom::object object, std::string_view key);
std::optional<dom::array> array_at(const JsonFile& file, dom::object object, std::string_view key);

// A token id: an integer that a file of this size can justify.
int32_t parse_id(const JsonFile& file, dom::element value, std::string_view token);

using Spellings = std::unordered_map<std::string_view, int32_t>;

// {token: id} as texts by id, "" where the ids have gaps. What is returned points into the parsed file.
Spellings parse_vocab(const JsonFile& file, dom::object vocab, std::vector<std::string>& by_id);

// "added_tokens" of tokenizer.json.
std::vector<AddedToken> parse_added_tokens(const JsonFile& file);

// What "post_processor" puts around texts; nothing where there is none.
InputTemplate parse_input_template(const JsonFile& file);

// Error if a vocabulary has one of these under another id: one text would have two ids.
void check_added(const std::string& name, const std::vector<AddedToken>& added, const Spellings& ids);

// Roles from tokenizer_config.json and special_tokens_map.json in `directory`, where they are there and
// name a known token; the others by their well-known names.
SpecialTokens read_roles(const std::filesystem::path& directory, const std::vector<AddedToken>& added,
                         const Spellings& ids);

// model.type "BPE" of tokenizer.json.
std::unique_ptr<Tokenizer> load_bpe_json(const JsonFile& file, dom::object model);
// model.type "WordPiece".
std::unique_ptr<Tokenizer> load_wordpiece_json(const JsonFile& file, dom::object model);

}  // namespace triax::text
