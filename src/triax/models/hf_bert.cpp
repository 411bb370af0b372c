#include "triax/models/hf_bert.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/checkpoint/elements.h"
#include "triax/checkpoint/safetensors.h"

namespace triax {
namespace {

struct Pair {
  std::string_view ours, theirs;
};

constexpr std::array<Pair, 20> kBertOutside = {{
    {"embedding.token", "bert.embeddings.word_embeddings.weight"},
    {"embedding.position", "bert.embeddings.position_embeddings.weight"},
    {"embedding.type", "bert.embeddings.token_type_embeddings.weight"},
    {"embedding.norm.weight", "bert.embeddings.LayerNorm.weight"},
    {"embedding.norm.bias", "bert.embeddings.LayerNorm.bias"},
    {"final_norm.weight", "bert.encoder.ln.weight"},
    {"final_norm.bias", "bert.encoder.ln.bias"},
    {"pooler.weight", "bert.pooler.dense.weight"},
    {"pooler.bias", "bert.pooler.dense.bias"},
    {"masked.transform.weight", "cls.predictions.transform.dense.weight"},
    {"masked.transform.bias", "cls.predictions.transform.dense.bias"},
    {"masked.norm.weight", "cls.predictions.transform.LayerNorm.weight"},
    {"masked.norm.bias", "cls.predictions.transform.LayerNorm.bias"},
    {"masked.bias", "cls.predictions.bias"},
    {"order.weight", "cls.seq_relationship.weight"},
    {"order.bias", "cls.seq_relationship.bias"},
    {"classifier.hidden.weight", "classifier.hidden.weight"},
    {"classifier.hidden.bias", "classifier.hidden.bias"},
    {"classifier.weight", "classifier.weight"},
    {"classifier.bias", "classifier.bias"},
}};

constexpr std::array<Pair, 10> kBertLayer = {{
    {"attention_output.weight", "attention.output.dense.weight"},
    {"attention_output.bias", "attention.output.dense.bias"},
    {"attention_norm.weight", "attention.output.LayerNorm.weight"},
    {"attention_norm.bias", "attention.output.LayerNorm.bias"},
    {"mlp_up.weight", "intermediate.dense.weight"},
    {"mlp_up.bias", "intermediate.dense.bias"},
    {"mlp_down.weight", "output.dense.weight"},
    {"mlp_down.bias", "output.dense.bias"},
    {"mlp_norm.weight", "output.LayerNorm.weight"},
    {"mlp_norm.bias", "output.LayerNorm.bias"},
}};

// Their tensors that make up one of ours, in order: three for qkv, else one.
std::vector<std::string> hf_names(std::string_view ours, BertHead head, bool post_norm) {
  constexpr std::string_view kLayers = "layers.";
  if (head == BertHead::spans && (ours == "classifier.weight" || ours == "classifier.bias")) return {"qa_outputs" + std::string(ours.substr(10))};
  for (const Pair& pair : kBertOutside)
    if (ours == pair.ours) return {std::string(pair.theirs)};
  const size_t dot = ours.find('.', kLayers.size());
  check(ours.starts_with(kLayers) && dot != std::string_view::npos, "a BERT has no tensor \"{}\"", ours);
  const std::string layer = fmt::format("bert.encoder.layer.{}.", ours.substr(kLayers.size(), dot - kLayers.size()));
  const std::string_view name = ours.substr(dot + 1);
  if (name.starts_with("qkv.")) {
    std::vector<std::string> names;
    for (const char* part : {"query", "key", "value"}) names.push_back(fmt::format("{}attention.self.{}{}", layer, part, name.substr(3)));
    return names;
  }
  if (!post_norm && name.starts_with("attention_norm.")) return {layer + "attention.ln" + std::string(name.substr(14))};
  if (!post_norm && name.starts_with("mlp_norm.")) return {layer + "ln" + std::string(name.substr(8))};
  for (const Pair& pair : kBertLayer)
    if (name == pair.ours) return {layer + std::string(pair.theirs)};
  fail("a BERT has no tensor \"{}\"", ours);
}

// What the file calls it: with or without "bert.", norms in the old words, the decoder's own bias.
std::optional<std::string> find_name(const SafetensorsDirectory& files, const std::string& name) {
  std::vector<std::string> candidates = {name};
  if (name.starts_with("bert.")) candidates.push_back(name.substr(5));
  if (name == "cls.predictions.bias") candidates.emplace_back("cls.predictions.decoder.bias");
  for (size_t i = 0, count = candidates.size(); i < count; ++i) {
    const size_t norm = candidates[i].rfind("LayerNorm.");
    if (norm == std::string::npos) continue;
    candidates.push_back(candidates[i].substr(0, norm) + (name.ends_with("weight") ? "LayerNorm.gamma" : "LayerNorm.beta"));
  }
  for (const std::string& candidate : candidates)
    if (files.contains(candidate)) return candidate;
  return std::nullopt;
}

// Heads are made anew where a model has none; the encoder is not.
bool belongs_to_head(const std::string& name) {
  return name.starts_with("pooler.") || name.starts_with("masked.") || name.starts_with("order.") || name.starts_with("classifier.");
}

// One of their tensors' shape: of qkv a third.
Shape part_shape(const ParameterSpec& spec, size_t parts) {
  if (parts == 1) return spec.shape;
  return spec.shape.rank() == 4 ? Shape{spec.shape[3], spec.shape[3]} : Shape{spec.shape[1] * spec.shape[2]};
}

}  // namespace

std::vector<std::string> load_hf_bert(const std::filesystem::path& directory, Bert& model, bool with_classifier) {
  SafetensorsDirectory files(directory);
  std::vector<std::string> missing;
  Parameters& parameters = model.parameters();
  for (int i = 0; i < static_cast<int>(parameters.table().specs().size()); ++i) {
    const ParameterSpec& spec = parameters.table()[i];
    if (!with_classifier && spec.name.starts_with("classifier.")) {
      missing.push_back(spec.name);
      continue;
    }
    const auto names = hf_names(spec.name, model.head().head, model.config().post_norm);
    const Shape shape = part_shape(spec, names.size());
    float* to = parameters.master(i).data<float>();
    for (const std::string& name : names) {
      const auto found = find_name(files, name);
      if (!found) {
        check(belongs_to_head(spec.name), "{}: there is no tensor {}", directory.string(), name);
        missing.push_back(spec.name);
        break;
      }
      const SafetensorsFile& file = files.file_of(*found);
      const SafetensorsEntry& entry = file.get(*found);
      check(entry.shape == shape, "{}: tensor {} has shape {}, and {} is asked for", file.path().string(), *found, entry.shape.to_string(),
            shape.to_string());
      file.read(entry, Tensor(to, shape, DType::f32));
      to += shape.numel();
    }
  }
  parameters.refresh_copies({});
  return missing;
}

void write_hf_bert(const std::filesystem::path& directory, const Bert& model, const std::vector<std::string>& labels, DType dtype) {
  std::vector<SafetensorsSpec> specs;
  std::map<std::string, const float*> data;
  const Parameters& parameters = model.parameters();
  for (int i = 0; i < static_cast<int>(parameters.table().specs().size()); ++i) {
    const ParameterSpec& spec = parameters.table()[i];
    const auto names = hf_names(spec.name, model.head().head, model.config().post_norm);
    const Shape shape = part_shape(spec, names.size());
    const float* from = parameters.master(i).data<float>();
    for (const std::string& name : names) {
      specs.push_back({name, dtype, shape});
      data[name] = from;
      from += shape.numel();
    }
  }
  SafetensorsWriter file(directory / "model.safetensors", std::move(specs), {{"format", "pt"}});
  for (const SafetensorsSpec& spec : file.order()) {
    const OwnedTensor values(spec.shape, dtype);
    copy_elements(data.at(spec.name), DType::f32, values.view().raw(), dtype, spec.shape.numel());
    file.write(values.view().raw(), values.view().bytes());
  }
  file.commit();
  write_file_atomic(directory / "config.json", hf_bert_config_json({model.config(), model.head(), labels}));
}

}  // namespace triax
