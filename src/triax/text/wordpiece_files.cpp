// Reading and writing WordPiece as tokenizer.json and as vocab.txt.
#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/text/tokenizer_json.h"
#include "triax/text/tokenizer_writer.h"
#include "triax/text/wordpiece_tokenizer.h"

namespace triax::text {
namespace fs = std::filesystem;
namespace {

std::string_view type_of(const JsonFile& file, std::string_view key) {
  const auto part = object_at(file, file.root(), key);
  return part ? string_or(file, *part, "type", "") : "none";
}

BertNormalization parse_normalizer(const JsonFile& file) {
  check(type_of(file, "normalizer") == "BertNormalizer", "{}: normalizer \"{}\" is not supported for WordPiece; BertNormalizer is",
        file.name(), type_of(file, "normalizer"));
  check(type_of(file, "pre_tokenizer") == "BertPreTokenizer",
        "{}: pre_tokenizer \"{}\" is not supported for WordPiece; BertPreTokenizer is", file.name(), type_of(file, "pre_tokenizer"));
  const dom::object object = *object_at(file, file.root(), "normalizer");
  BertNormalization how;
  how.clean_text = bool_or(file, object, "clean_text", true);
  how.handle_chinese_chars = bool_or(file, object, "handle_chinese_chars", true);
  how.lowercase = bool_or(file, object, "lowercase", true);
  dom::element strip;
  if (object.at_key("strip_accents").get(strip) == simdjson::SUCCESS && !strip.is_null())
    how.strip_accents = bool_or(file, object, "strip_accents", true);
  return how;
}

constexpr std::string_view kBertSpecial[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

bool has_capitals(const std::vector<std::string>& tokens) {
  return std::any_of(tokens.begin(), tokens.end(), [](const std::string& token) {
    return !token.starts_with('[') && std::any_of(token.begin(), token.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  });
}

// [CLS] $A [SEP], and [CLS] $A [SEP] $B [SEP] for pairs.
std::string bert_template(const SpecialTokens& special) {
  if (!special.cls || !special.sep) return "";
  return fmt::format(R"({{"type":"TemplateProcessing",)"
                     R"("single":[{{"SpecialToken":{{"id":"[CLS]","type_id":0}}}},{{"Sequence":{{"id":"A","type_id":0}}}},)"
                     R"({{"SpecialToken":{{"id":"[SEP]","type_id":0}}}}],)"
                     R"("pair":[{{"SpecialToken":{{"id":"[CLS]","type_id":0}}}},{{"Sequence":{{"id":"A","type_id":0}}}},)"
                     R"({{"SpecialToken":{{"id":"[SEP]","type_id":0}}}},{{"Sequence":{{"id":"B","type_id":1}}}},)"
                     R"({{"SpecialToken":{{"id":"[SEP]","type_id":1}}}}],)"
                     R"("special_tokens":{{"[CLS]":{{"id":"[CLS]","ids":[{}],"tokens":["[CLS]"]}},)"
                     R"("[SEP]":{{"id":"[SEP]","ids":[{}],"tokens":["[SEP]"]}}}}}})",
                     *special.cls, *special.sep);
}

std::string tokenizer_json(const WordPieceConfig& config, const fs::path& path) {
  const auto& how = config.normalization;
  const std::string strip = how.strip_accents ? (*how.strip_accents ? "true" : "false") : "null";
  std::string out = "{\n";
  out += "  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n";
  out += "  \"added_tokens\": " + added_tokens_json(config.added) + ",\n";
  out += fmt::format("  \"normalizer\": {{\"type\":\"BertNormalizer\",\"clean_text\":{},\"handle_chinese_chars\":{},"
                     "\"strip_accents\":{},\"lowercase\":{}}},\n",
                     how.clean_text, how.handle_chinese_chars, strip, how.lowercase);
  out += "  \"pre_tokenizer\": {\"type\":\"BertPreTokenizer\"},\n";
  out += "  \"post_processor\": " + (config.post_processor.empty() ? "null" : config.post_processor) + ",\n";
  out += fmt::format("  \"decoder\": {{\"type\":\"WordPiece\",\"prefix\":{},\"cleanup\":{}}},\n",
                     json_string(path, config.prefix), config.cleanup);
  out += "  \"model\": {\n    \"type\": \"WordPiece\",\n    \"unk_token\": " + json_string(path, config.unk);
  out += ",\n    \"continuing_subword_prefix\": " + json_string(path, config.prefix);
  out += fmt::format(",\n    \"max_input_chars_per_word\": {},\n", config.max_word_characters);
  out += "    \"vocab\": " + vocab_json(path, config.tokens, "\n      ") + "\n  }\n}\n";
  return out;
}

}  // namespace

void set_bert_inputs(WordPieceConfig& config) {
  config.post_processor = bert_template(config.special);
  config.inputs = bert_input_template(config.special);
}

std::unique_ptr<Tokenizer> load_wordpiece_json(const JsonFile& file, dom::object model) {
  WordPieceConfig config;
  config.normalization = parse_normalizer(file);
  const auto vocab = object_at(file, model, "vocab");
  check(vocab.has_value(), "{}: model has no \"vocab\"", file.name());
  const Spellings ids = parse_vocab(file, *vocab, config.tokens);
  config.unk = string_or(file, model, "unk_token", "[UNK]");
  check(ids.contains(config.unk), "{}: model.unk_token \"{}\" is not in the vocabulary", file.name(), config.unk);
  config.prefix = string_or(file, model, "continuing_subword_prefix", "##");
  check(!config.prefix.empty(), "{}: model.continuing_subword_prefix must not be empty", file.name());
  dom::element limit;
  if (model.at_key("max_input_chars_per_word").get(limit) == simdjson::SUCCESS)
    check(limit.get(config.max_word_characters) == simdjson::SUCCESS && config.max_word_characters > 0,
          "{}: model.max_input_chars_per_word must be a positive number", file.name());
  if (const auto decoder = object_at(file, file.root(), "decoder")) config.cleanup = bool_or(file, *decoder, "cleanup", true);
  config.added = parse_added_tokens(file);
  check_added(file.name(), config.added, ids);
  for (const AddedToken& token : config.added)
    check(!token.normalized, "{}: added token \"{}\" is to be normalized, which is not supported for WordPiece", file.name(),
          token.content);
  if (const auto post = object_at(file, file.root(), "post_processor")) config.post_processor = simdjson::minify(*post);
  config.inputs = parse_input_template(file);
  config.special = read_roles(fs::path(file.name()).parent_path(), config.added, ids);
  return make_wordpiece_tokenizer(std::move(config));
}

std::unique_ptr<Tokenizer> parse_vocab_txt(const TextFile& file) {
  WordPieceConfig config;
  for (std::string_view rest = file.content; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    config.tokens.emplace_back(line);
  }
  Spellings ids;
  for (size_t id = 0; id < config.tokens.size(); ++id)
    check(config.tokens[id].empty() || ids.emplace(config.tokens[id], static_cast<int32_t>(id)).second,
          "{}: line {}: token \"{}\" is there twice", file.path.string(), id + 1, config.tokens[id]);
  check(ids.contains(config.unk), "{}: has no token {}; is it the vocab.txt of a BERT model?", file.path.string(), config.unk);
  for (const std::string_view special : kBertSpecial)
    if (const auto found = ids.find(special); found != ids.end())
      config.added.push_back({.content = std::string(special), .id = found->second});
  config.normalization.lowercase = !has_capitals(config.tokens);
  const fs::path directory = file.path.parent_path();
  if (const fs::path path = directory / "tokenizer_config.json"; fs::exists(path)) {
    const JsonFile companion(read_text_file(path));
    config.normalization.lowercase = bool_or(companion, companion.root(), "do_lower_case", config.normalization.lowercase);
  }
  config.special = read_roles(directory, config.added, ids);
  set_bert_inputs(config);
  return make_wordpiece_tokenizer(std::move(config));
}

void save_wordpiece_files(const WordPieceConfig& config, const fs::path& directory) {
  const fs::path json_path = directory / "tokenizer.json";
  write_file_atomic(json_path, tokenizer_json(config, json_path));
  std::string lines;
  for (const std::string& token : config.tokens) lines += token + "\n";
  write_file_atomic(directory / "vocab.txt", lines);
  write_companions(directory, config.added, config.special,
                   {{"do_lower_case", config.normalization.lowercase ? "true" : "false"}});
}

}  // namespace triax::text
