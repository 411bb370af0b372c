#include "triax/models/hf_vocabulary.h"

#include <array>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/checkpoint/elements.h"
#include "triax/checkpoint/safetensors.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

bool is_of_vocabulary(std::string_view name) {
  constexpr std::array<std::string_view, 6> kNames = {"embeddings.word_embeddings.weight", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias",
                                                      "cls.predictions.bias", "wte.weight", "lm_head.weight"};
  for (const std::string_view known : kNames)
    if (name == known || name.ends_with("." + std::string(known))) return true;
  return false;
}

// The numbers of one token are the mean of its old pieces'.
std::vector<float> mapped(const std::vector<float>& old, size_t width, const VocabularyMap& map, const std::string& place) {
  const size_t rows = old.size() / width;
  std::vector<double> all(width);
  for (size_t i = 0; i < old.size(); ++i) all[i % width] += static_cast<double>(old[i]) / static_cast<double>(rows);
  std::vector<float> fresh(map.pieces.size() * width);
  for (size_t token = 0; token < map.pieces.size(); ++token) {
    const auto& pieces = map.pieces[token];
    for (size_t j = 0; j < width; ++j) {
      double sum = pieces.empty() ? all[j] : 0;
      for (const int32_t id : pieces) {
        check(id >= 0 && static_cast<size_t>(id) < rows, "{}: there are {} rows, and the old vocabulary has a token {}", place, rows, id);
        sum += static_cast<double>(old[static_cast<size_t>(id) * width + j]);
      }
      fresh[token * width + j] = static_cast<float>(pieces.size() > 1 ? sum / static_cast<double>(pieces.size()) : sum);
    }
  }
  return fresh;
}

void write_weights(SafetensorsDirectory& files, const VocabularyMap& map, const fs::path& output) {
  std::vector<SafetensorsSpec> specs;
  for (const std::string& name : files.names()) {
    const SafetensorsEntry& entry = files.file_of(name).get(name);
    SafetensorsSpec& spec = specs.emplace_back(name, entry.dtype, entry.shape);
    if (!is_of_vocabulary(name)) continue;
    check(entry.shape.rank() == 1 || entry.shape.rank() == 2, "{}: tensor {} has shape {}; rows of tokens were expected", files.path().string(), name,
          entry.shape.to_string());
    const auto tokens = static_cast<int64_t>(map.pieces.size());
    spec.shape = entry.shape.rank() == 1 ? Shape{tokens} : Shape{tokens, entry.shape[1]};
  }
  SafetensorsWriter writer(output / "model.safetensors", std::move(specs), {{"format", "pt"}});
  for (const SafetensorsSpec& spec : writer.order()) {
    const SafetensorsFile& file = files.file_of(spec.name);
    const SafetensorsEntry& entry = file.get(spec.name);
    std::vector<std::byte> converted;
    std::span<const std::byte> bytes = file.bytes(entry);
    if (is_of_vocabulary(spec.name)) {
      std::vector<float> old(static_cast<size_t>(entry.shape.numel()));
      copy_elements(bytes.data(), entry.dtype, old.data(), DType::f32, entry.shape.numel());
      const std::vector<float> fresh = mapped(old, entry.shape.rank() == 1 ? 1 : static_cast<size_t>(entry.shape[1]), map, files.path().string() + ": " + spec.name);
      converted.resize(fresh.size() * size_of(spec.dtype));
      copy_elements(fresh.data(), DType::f32, converted.data(), spec.dtype, static_cast<int64_t>(fresh.size()));
      bytes = converted;
    }
    writer.write(bytes.data(), bytes.size());
  }
  writer.commit();
}

void write_config(const fs::path& model, const Tokenizer& to, const fs::path& output) {
  const fs::path path = model / "config.json";
  Json json = Json::parse(read_file(path), path.string());
  check(json.is_object() && json.contains("vocab_size"), "{}: there is no \"vocab_size\"", path.string());
  json["vocab_size"] = to.vocab_size();
  const SpecialTokens& special = to.special_tokens();
  const auto set = [&](const char* key, const std::optional<int32_t>& id) {
    if (json.contains(key)) json[key] = id ? Json(*id) : Json();
  };
  set("pad_token_id", special.pad);
  set("bos_token_id", special.bos ? special.bos : special.eod);
  set("eos_token_id", special.eos ? special.eos : special.eod);
  set("cls_token_id", special.cls);
  set("sep_token_id", special.sep);
  write_file_atomic(output / "config.json", json.dump(2) + "\n");
}

}  // namespace

std::vector<std::string> hf_vocabulary_tensors(const fs::path& directory) {
  std::vector<std::string> names;
  bool embedding = false;
  for (const std::string& name : SafetensorsDirectory(directory).names())
    if (is_of_vocabulary(name)) names.push_back(name), embedding |= name.ends_with("word_embeddings.weight") || name.ends_with("wte.weight");
  return embedding ? names : std::vector<std::string>();
}

void transfer_hf_vocabulary(const fs::path& model, const VocabularyMap& map, const Tokenizer& to, const fs::path& output) {
  check(static_cast<int64_t>(map.pieces.size()) == to.vocab_size(), "a map of {} tokens is not of a vocabulary of {}", map.pieces.size(), to.vocab_size());
  check(!hf_vocabulary_tensors(model).empty(), "{}: there is no embedding of BERT or GPT-2 (embeddings.word_embeddings.weight, wte.weight)", model.string());
  SafetensorsDirectory files(model);
  write_config(model, to, output);
  write_weights(files, map, output);
  save_tokenizer(to, output);
}

}  // namespace triax
