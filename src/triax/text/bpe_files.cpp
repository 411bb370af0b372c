// Reading and writing byte-level BPE as tokenizer.json, and as the older pair vocab.json + merges.txt.
#include <algorithm>
#include <unordered_map>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/text/bpe_tokenizer.h"
#include "triax/text/byte_level.h"
#include "triax/text/tokenizer_json.h"
#include "triax/text/tokenizer_writer.h"

namespace triax::text {
namespace fs = std::filesystem;
namespace {

// The spelled tokens as bytes.
void unspell(const std::vector<std::string>& spellings, BpeVocabulary& vocabulary) {
  for (const std::string& spelling : spellings) {
    auto bytes = unspell_bytes(spelling);
    vocabulary.literal.push_back(!bytes);
    vocabulary.tokens.push_back(bytes ? std::move(*bytes) : spelling);
  }
}

// One line of the merges: `where` names it in errors.
Merge parse_merge(const Spellings& ids, std::string_view left, std::string_view right, std::string& joined,
                  const std::string& where) {
  const auto find = [&](std::string_view token) {
    const auto found = ids.find(token);
    check(found != ids.end(), "{}: \"{}\" is not in the vocabulary", where, token);
    return found->second;
  };
  joined = left;
  joined += right;
  return {find(left), find(right), find(joined)};
}

// "left right" in two; `where` names it in errors.
std::pair<std::string_view, std::string_view> split_merge(std::string_view line, const std::string& where) {
  const size_t space = line.find(' ');
  check(space != std::string_view::npos && space > 0 && space + 1 < line.size() &&
            line.find(' ', space + 1) == std::string_view::npos,
        "{}: \"{}\" must be two tokens with a space between", where, line);
  return {line.substr(0, space), line.substr(space + 1)};
}

void parse_merges(const JsonFile& file, dom::array merges, const Spellings& ids, BpeVocabulary& vocabulary) {
  std::string joined;
  size_t number = 0;
  for (const dom::element element : merges) {
    const std::string where = fmt::format("{}: merge {}", file.name(), ++number);
    std::string_view left, right;
    dom::array pair;
    if (element.get(left) == simdjson::SUCCESS) {
      std::tie(left, right) = split_merge(left, where);
    } else {
      check(element.get(pair) == simdjson::SUCCESS && pair.size() == 2 &&
                pair.at(0).get(left) == simdjson::SUCCESS && pair.at(1).get(right) == simdjson::SUCCESS,
            "{}: must be \"left right\" or [\"left\", \"right\"]", where);
    }
    vocabulary.merges.push_back(parse_merge(ids, left, right, joined, where));
  }
}

// Finds the one ByteLevel among the pre-tokenizers, and sees that nothing else is there.
dom::object byte_level_of(const JsonFile& file, dom::object pre_tokenizer) {
  const std::string_view type = string_or(file, pre_tokenizer, "type", "");
  if (type == "Sequence") {
    const auto parts = array_at(file, pre_tokenizer, "pretokenizers");
    dom::object only;
    check(parts && parts->size() == 1 && parts->at(0).get(only) == simdjson::SUCCESS,
          "{}: a pre_tokenizer Sequence is read only when it holds nothing but ByteLevel", file.name());
    return byte_level_of(file, only);
  }
  check(type == "ByteLevel",
        "{}: pre_tokenizer \"{}\" is not supported for BPE; triax reads byte-level BPE (ByteLevel, as in GPT-2)",
        file.name(), type);
  return pre_tokenizer;
}

void check_plain_bpe(const JsonFile& file, dom::object model) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    check(string_or(file, model, key, "").empty(), "{}: model.{} is not supported with byte-level BPE", file.name(), key);
  check(!bool_or(file, model, "byte_fallback", false), "{}: model.byte_fallback is not supported with byte-level BPE",
        file.name());
  dom::element dropout;
  check(model.at_key("dropout").get(dropout) != simdjson::SUCCESS || dropout.is_null() ||
            (dropout.is_double() && double(dropout) == 0.0),
        "{}: model.dropout makes encoding random and is not supported; set it to null", file.name());
  const auto normalizer = object_at(file, file.root(), "normalizer");
  check(!normalizer, "{}: normalizer \"{}\" is not supported with byte-level BPE", file.name(),
        normalizer ? string_or(file, *normalizer, "type", "") : "");
}

std::string spelling(const BpeVocabulary& vocabulary, int32_t id) {
  const auto at = static_cast<size_t>(id);
  return vocabulary.literal[at] ? vocabulary.tokens[at] : spell_bytes(vocabulary.tokens[at]);
}

std::vector<std::string> all_spellings(const BpeVocabulary& vocabulary) {
  std::vector<std::string> spellings;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) spellings.push_back(spelling(vocabulary, static_cast<int32_t>(id)));
  return spellings;
}

// "left right" strings, which every version of `tokenizers` reads; pairs where a token has a space.
std::string merges_json(const BpeVocabulary& vocabulary, const fs::path& path, std::string_view separator) {
  std::string out = "[";
  for (const Merge& merge : vocabulary.merges) {
    const std::string left = spelling(vocabulary, merge.left), right = spelling(vocabulary, merge.right);
    if (out.size() > 1) out += ',';
    out += separator;
    if ((left + right).find(' ') == std::string::npos)
      out += json_string(path, left + " " + right);
    else
      out += fmt::format("[{},{}]", json_string(path, left), json_string(path, right));
  }
  return out + "]";
}

std::string tokenizer_json(const BpeConfig& config, const BpeVocabulary& vocabulary, const fs::path& path) {
  const std::string byte_level =
      fmt::format(R"({{"type":"ByteLevel","add_prefix_space":{},"trim_offsets":true,"use_regex":{}}})",
                  config.add_prefix_space, config.split_words);
  std::string out = "{\n";
  out += "  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n";
  out += "  \"added_tokens\": " + added_tokens_json(config.added) + ",\n  \"normalizer\": null,\n";
  out += "  \"pre_tokenizer\": " + byte_level + ",\n";
  out += "  \"post_processor\": " + (config.post_processor.empty() ? "null" : config.post_processor) + ",\n";
  out += "  \"decoder\": " + byte_level + ",\n";
  out += "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": ";
  out += vocabulary.unk < 0 ? "null" : json_string(path, spelling(vocabulary, vocabulary.unk));
  out += ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n";
  out += fmt::format("    \"fuse_unk\": {},\n    \"byte_fallback\": false,\n    \"ignore_merges\": {},\n",
                     vocabulary.fuse_unk, vocabulary.ignore_merges);
  out += "    \"vocab\": " + vocab_json(path, all_spellings(vocabulary), "\n      ") + ",\n";
  out += "    \"merges\": " + merges_json(vocabulary, path, "\n      ") + "\n  }\n}\n";
  return out;
}

std::string merges_txt(const BpeVocabulary& vocabulary) {
  std::string out = "#version: 0.2\n";
  for (const Merge& merge : vocabulary.merges)
    out += spelling(vocabulary, merge.left) + " " + spelling(vocabulary, merge.right) + "\n";
  return out;
}

}  // namespace

std::unique_ptr<Tokenizer> load_bpe_json(const JsonFile& file, dom::object model) {
  check_plain_bpe(file, model);
  BpeConfig config;
  const auto pre_tokenizer = object_at(file, file.root(), "pre_tokenizer");
  check(pre_tokenizer.has_value(), "{}: has no pre_tokenizer; triax reads byte-level BPE (ByteLevel, as in GPT-2)",
        file.name());
  const dom::object byte_level = byte_level_of(file, *pre_tokenizer);
  config.add_prefix_space = bool_or(file, byte_level, "add_prefix_space", true);
  config.split_words = bool_or(file, byte_level, "use_regex", true);

  const auto vocab = object_at(file, model, "vocab");
  check(vocab.has_value(), "{}: model has no \"vocab\"", file.name());
  std::vector<std::string> spellings;
  const Spellings ids = parse_vocab(file, *vocab, spellings);
  unspell(spellings, config.vocabulary);
  if (const auto merges = array_at(file, model, "merges")) parse_merges(file, *merges, ids, config.vocabulary);
  if (const std::string_view unk = string_or(file, model, "unk_token", ""); !unk.empty()) {
    const auto found = ids.find(unk);
    check(found != ids.end(), "{}: model.unk_token \"{}\" is not in the vocabulary", file.name(), unk);
    config.vocabulary.unk = found->second;
  }
  config.vocabulary.fuse_unk = bool_or(file, model, "fuse_unk", false);
  config.vocabulary.ignore_merges = bool_or(file, model, "ignore_merges", false);
  config.added = parse_added_tokens(file);
  check_added(file.name(), config.added, ids);
  check(!ids.empty() || !config.added.empty(), "{}: the vocabulary is empty", file.name());
  if (const auto post = object_at(file, file.root(), "post_processor")) config.post_processor = simdjson::minify(*post);
  config.inputs = parse_input_template(file);
  config.special = read_roles(fs::path(file.name()).parent_path(), config.added, ids);
  return make_bpe_tokenizer(std::move(config));
}

std::unique_ptr<Tokenizer> parse_bpe_files(const TextFile& vocab_json_file, const TextFile& merges_txt_file) {
  const JsonFile file(vocab_json_file);
  BpeConfig config;
  std::vector<std::string> spellings;
  const Spellings ids = parse_vocab(file, file.root(), spellings);
  unspell(spellings, config.vocabulary);
  check(!ids.empty(), "{}: the vocabulary is empty", file.name());

  std::string joined;
  size_t number = 0;
  for (std::string_view rest = merges_txt_file.content; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version") || (line.empty() && rest.empty())) continue;
    const std::string where = fmt::format("{}: line {}", merges_txt_file.path.string(), number);
    const auto [left, right] = split_merge(line, where);
    config.vocabulary.merges.push_back(parse_merge(ids, left, right, joined, where));
  }

  const fs::path directory = vocab_json_file.path.parent_path();
  const auto add_special = [&](std::string_view text, int32_t id) {
    for (const AddedToken& token : config.added)
      if (token.id == id) return;
    config.added.push_back({.content = std::string(text), .id = id});
  };
  if (const auto found = ids.find(kEndOfText); found != ids.end()) add_special(found->first, found->second);
  if (const fs::path path = directory / "added_tokens.json"; fs::exists(path)) {
    const JsonFile added(read_text_file(path));
    for (const auto& [token, value] : added.root()) {
      check(!token.empty(), "{}: an added token is empty", added.name());
      add_special(token, parse_id(added, value, token));
    }
    check_added(added.name(), config.added, ids);
  }
  config.special = read_roles(directory, config.added, ids);
  const auto& special = config.special;
  for (const auto& role : {special.bos, special.eos, special.unk, special.pad, special.cls, special.sep, special.mask})
    if (role && static_cast<size_t>(*role) < config.vocabulary.tokens.size())
      add_special(spelling(config.vocabulary, *role), *role);
  if (const fs::path path = directory / "tokenizer_config.json"; fs::exists(path)) {
    const JsonFile companion(read_text_file(path));
    config.add_prefix_space = bool_or(companion, companion.root(), "add_prefix_space", false);
  }
  return make_bpe_tokenizer(std::move(config));
}

void save_bpe_files(const BpeConfig& config, const BpeVocabulary& vocabulary, const fs::path& directory) {
  const fs::path json_path = directory / "tokenizer.json", vocab_path = directory / "vocab.json";
  write_file_atomic(json_path, tokenizer_json(config, vocabulary, json_path));
  write_file_atomic(vocab_path, vocab_json(vocab_path, all_spellings(vocabulary), "") + "\n");
  write_file_atomic(directory / "merges.txt", merges_txt(vocabulary));
  write_companions(directory, config.added, config.special,
                   {{"add_prefix_space", config.add_prefix_space ? "true" : "false"}, {"clean_up_tokenization_spaces", "false"}});
}

}  // namespace triax::text
