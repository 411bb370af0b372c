#include "triax/text/sentencepiece_files.h"

#include <fmt/format.h>

#include "triax/base/file.h"
#include "triax/text/tokenizer_writer.h"

namespace triax::text {
namespace fs = std::filesystem;
namespace {

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i) bits = bits << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    for (size_t i = 0; i < 4; ++i) out += at + i > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * i) & 63];
  }
  return out;
}

std::string normalizer_json(const SentencePieceModel& model) {
  std::string parts;
  const auto add = [&](const std::string& part) { parts += (parts.empty() ? "" : ",") + part; };
  if (!model.charsmap.empty()) add(R"({"type":"Precompiled","precompiled_charsmap":")" + base64(model.charsmap) + "\"}");
  if (model.remove_extra_whitespaces) {
    add(R"({"type":"Strip","strip_left":true,"strip_right":true})");
    add(R"({"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "})");
  }
  return parts.empty() ? "null" : R"({"type":"Sequence","normalizers":[)" + parts + "]}";
}

std::string tokenizer_json(const SentencePieceModel& model, const std::vector<AddedToken>& added, const fs::path& path) {
  const std::string metaspace =
      fmt::format("{{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":\"{}\",\"split\":true}}",
                  model.add_dummy_prefix ? "always" : "never");
  std::vector<AddedToken> tokens = added;
  for (size_t id = 0; id < model.pieces.size(); ++id)
    if (model.pieces[id].kind == SentencePieceModel::Kind::user_defined)
      tokens.push_back({.content = model.pieces[id].text, .id = static_cast<int32_t>(id), .special = false});
  std::string out = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n";
  out += "  \"added_tokens\": " + added_tokens_json(tokens) + ",\n";
  out += "  \"normalizer\": " + normalizer_json(model) + ",\n  \"pre_tokenizer\": " + metaspace;
  out += ",\n  \"post_processor\": null,\n  \"decoder\": ";
  out += model.byte_fallback ? R"({"type":"Sequence","decoders":[{"type":"ByteFallback"},)" + metaspace + "]}" : metaspace;
  size_t unk = 0;
  while (unk + 1 < model.pieces.size() && model.pieces[unk].kind != SentencePieceModel::Kind::unknown) ++unk;
  out += fmt::format(",\n  \"model\": {{\n    \"type\": \"Unigram\",\n    \"unk_id\": {},\n    \"byte_fallback\": {},\n    \"vocab\": [",
                     unk, model.byte_fallback);
  for (size_t id = 0; id < model.pieces.size(); ++id)
    out += fmt::format("{}\n      [{},{}]", id == 0 ? "" : ",", json_string(path, model.pieces[id].text),
                       static_cast<double>(model.pieces[id].score));
  return out + "\n    ]\n  }\n}\n";
}

}  // namespace

void save_sentencepiece_files(const std::string& file, const SentencePieceModel& model, const std::vector<AddedToken>& added,
                              const SpecialTokens& special, const fs::path& directory) {
  write_file_atomic(directory / "tokenizer.model", file);
  std::string lines;
  for (const auto& piece : model.pieces) lines += fmt::format("{}\t{}\n", piece.text, piece.score);
  write_file_atomic(directory / "tokenizer.vocab", lines);
  const fs::path json_path = directory / "tokenizer.json";
  if (model.type == SentencePieceModel::Type::unigram) write_file_atomic(json_path, tokenizer_json(model, added, json_path));
  write_companions(directory, added, special, {});
}

}  // namespace triax::text
