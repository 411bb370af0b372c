#include "triax/text/tokenizer_writer.h"

#include <fmt/format.h>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/base/text.h"

namespace triax::text {
namespace fs = std::filesystem;

std::string json_string(const fs::path& path, std::string_view text) {
  check(find_invalid_utf8(text) == std::string_view::npos, "{}: cannot write the token \"{}\": it is not UTF-8", path.string(), text);
  return Json(text).dump();
}

std::string vocab_json(const fs::path& path, const std::vector<std::string>& spellings, std::string_view separator) {
  std::string out = "{";
  for (size_t id = 0; id < spellings.size(); ++id) {
    if (spellings[id].empty()) continue;
    if (out.size() > 1) out += ',';
    out += separator;
    out += json_string(path, spellings[id]);
    out += fmt::format(":{}", id);
  }
  return out + "}";
}

std::string added_tokens_json(const std::vector<AddedToken>& added) {
  Json list = Json::array();
  for (const AddedToken& token : added)
    list.push_back({{"id", token.id}, {"content", token.content}, {"single_word", token.single_word},
                    {"lstrip", token.lstrip}, {"rstrip", token.rstrip}, {"normalized", token.normalized},
                    {"special", token.special}});
  return list.dump();
}

void write_companions(const fs::path& directory, const std::vector<AddedToken>& added, const SpecialTokens& special,
                      const std::vector<std::pair<std::string, std::string>>& extra) {
  Json roles = Json::object();
  const auto add_role = [&](const char* name, const std::optional<int32_t>& id) {
    if (!id) return;
    for (const AddedToken& token : added)
      if (token.id == *id) roles[name] = token.content;
  };
  add_role("bos_token", special.bos);
  add_role("eos_token", special.eos);
  add_role("unk_token", special.unk);
  add_role("pad_token", special.pad);
  add_role("cls_token", special.cls);
  add_role("sep_token", special.sep);
  add_role("mask_token", special.mask);
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  // Else transformers leaves the types out, and the second text of a pair passes for the first.
  if (special.cls && special.sep) config["model_input_names"] = Json::array({"input_ids", "token_type_ids", "attention_mask"});
  for (const auto& [name, value] : extra) config[name] = Json::parse(value, name);
  config.update(roles);
  write_file_atomic(directory / "tokenizer_config.json", config.dump(2) + "\n");
  write_file_atomic(directory / "special_tokens_map.json", roles.dump(2) + "\n");
}

}  // namespace triax::text
