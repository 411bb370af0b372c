#include "triax/text/tokenizer_json.h"

#include <algorithm>
#include <set>

#include "triax/base/error.h"
#include "triax/base/file.h"

namespace triax::text {
namespace fs = std::filesystem;
namespace {

// The member, or nothing when it is absent or null.
std::optional<dom::element> member(dom::object object, std::string_view key) {
  dom::element value;
  if (object.at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
  return value;
}

template <typename T>
T typed(const JsonFile& file, dom::element value, std::string_view key, const char* type) {
  T result{};
  check(value.get(result) == simdjson::SUCCESS, "{}: \"{}\" must be {}", file.name(), key, type);
  return result;
}

// transformers writes "no limit" as the integer 1e30 ("model_max_length": 1000000000000000019884624838656),
// which the parser refuses as too large. With ".0" behind it is a floating-point number like any other.
std::string widen_huge_integers(std::string_view json) {
  std::string widened;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string && c == '\\' && i + 1 < json.size()) {
      widened += c;
      widened += json[++i];
      continue;
    }
    if (c == '"') in_string = !in_string;
    const size_t end = in_string ? i : std::min(json.find_first_not_of("0123456789", i), json.size());
    if (end <= i) {
      widened += c;
      continue;
    }
    widened += json.substr(i, end - i);
    const bool integer = end == json.size() || (json[end] != '.' && json[end] != 'e' && json[end] != 'E');
    if (integer && end - i > 18 && (i == 0 || json[i - 1] != '.')) widened += ".0";
    i = end - 1;
  }
  return widened;
}

}  // namespace

TextFile read_text_file(const fs::path& path) { return {path, read_file(path)}; }

JsonFile::JsonFile(TextFile file) : path_(std::move(file.path)), size_(file.content.size()) {
  dom::element top;
  auto status = parser_.parse(file.content).get(top);
  if (status == simdjson::NUMBER_ERROR) status = parser_.parse(widen_huge_integers(file.content)).get(top);
  check(status == simdjson::SUCCESS, "{}: not valid JSON ({}); the file may be cut off", name(),
        simdjson::error_message(status));
  check(top.get(root_) == simdjson::SUCCESS, "{}: must hold a JSON object", name());
}

bool bool_or(const JsonFile& file, dom::object object, std::string_view key, bool fallback) {
  const auto value = member(object, key);
  return value ? typed<bool>(file, *value, key, "true or false") : fallback;
}

std::string_view string_or(const JsonFile& file, dom::object object, std::string_view key, std::string_view fallback) {
  const auto value = member(object, key);
  return value ? typed<std::string_view>(file, *value, key, "a string") : fallback;
}

std::optional<dom::object> object_at(const JsonFile& file, dom::object object, std::string_view key) {
  const auto value = member(object, key);
  return value ? std::optional(typed<dom::object>(file, *value, key, "an object")) : std::nullopt;
}

std::optional<dom::array> array_at(const JsonFile& file, dom::object object, std::string_view key) {
  const auto value = member(object, key);
  return value ? std::optional(typed<dom::array>(file, *value, key, "an array")) : std::nullopt;
}

int32_t parse_id(const JsonFile& file, dom::element value, std::string_view token) {
  int64_t id = -1;
  check(value.get(id) == simdjson::SUCCESS && id >= 0, "{}: the id of token \"{}\" must be a number from 0",
        file.name(), token);
  // Every token takes some bytes in the file, so an id beyond its size means gaps that no vocabulary has.
  const auto limit = static_cast<int64_t>(std::max<size_t>(file.size(), 65536));
  check(id < std::min<int64_t>(limit, INT32_MAX), "{}: the id {} of token \"{}\" is too large for this file", file.name(),
        id, token);
  return static_cast<int32_t>(id);
}

std::vector<AddedToken> parse_added_tokens(const JsonFile& file) {
  std::vector<AddedToken> tokens;
  const auto list = array_at(file, file.root(), "added_tokens");
  if (!list) return tokens;
  std::set<int32_t> ids;
  for (const dom::element element : *list) {
    const auto entry = typed<dom::object>(file, element, "added_tokens", "an array of objects");
    AddedToken token;
    token.content = string_or(file, entry, "content", "");
    check(!token.content.empty(), "{}: an entry of \"added_tokens\" has no \"content\"", file.name());
    const auto id = member(entry, "id");
    check(id.has_value(), "{}: added token \"{}\" has no \"id\"", file.name(), token.content);
    token.id = parse_id(file, *id, token.content);
    check(ids.insert(token.id).second, "{}: two added tokens have the id {}", file.name(), token.id);
    token.single_word = bool_or(file, entry, "single_word", false);
    token.lstrip = bool_or(file, entry, "lstrip", false);
    token.rstrip = bool_or(file, entry, "rstrip", false);
    token.special = bool_or(file, entry, "special", false);
    token.normalized = bool_or(file, entry, "normalized", !token.special);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

SpecialTokens read_roles(const fs::path& directory,
                         const std::function<std::optional<int32_t>(std::string_view)>& id_of) {
  SpecialTokens special;
  const std::pair<std::string_view, std::optional<int32_t>*> roles[] = {
      {"bos_token", &special.bos}, {"eos_token", &special.eos}, {"unk_token", &special.unk},
      {"pad_token", &special.pad}, {"cls_token", &special.cls}, {"sep_token", &special.sep},
      {"mask_token", &special.mask}};
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    if (!fs::exists(directory / name)) continue;
    const JsonFile file(read_text_file(directory / name));
    for (const auto& [key, role] : roles) {
      const auto value = member(file.root(), key);
      if (!value || *role) continue;
      dom::object token;  // written plain, or as {"content": ..., "lstrip": ...}
      const std::string_view text = value->get(token) == simdjson::SUCCESS
                                        ? string_or(file, token, "content", "")
                                        : typed<std::string_view>(file, *value, key, "a string or an object");
      *role = id_of(text);
    }
  }
  return special;
}

}  // namespace triax::text
