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
#include "triax/models/parameter_parts.h"
#include "triax/tensor/device.h"

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

// Theirs that make up one of ours: what each is of it, of qkv a third.
std::vector<HfBertTensor> hf_tensors_of(const ParameterSpec& spec, BertHead head, bool post_norm) {
  const auto names = hf_names(spec.name, head, post_norm);
  const Shape& global = spec.global_shape;
  if (names.size() == 1) return {{names[0], global, spec.name, whole_region(global)}};
  std::vector<HfBertTensor> tensors;
  for (const std::string& name : names) {
    Region third = whole_region(global);
    third.offset[0] = static_cast<int64_t>(tensors.size());
    third.shape[0] = 1;
    third.end = third.shape.numel();
    const Shape shape = global.rank() == 4 ? Shape{global[3], global[3]} : Shape{global[1] * global[2]};
    tensors.push_back({name, shape, spec.name, third});
  }
  return tensors;
}

// Of a tensor as it is in the file to what is owned of it, which alone is read.
void read_parts(const SafetensorsFile& file, const SafetensorsEntry& entry, const HfBertTensor& tensor,
                const std::vector<ParameterPart>& owned, const Parameters& parameters) {
  const std::byte* from = file.bytes(entry).data();
  for (const ParameterPart& part : owned) {
    if (part.spec->name != tensor.parameter) continue;
    const Tensor master = parameters.master_at(part.begin, part.size);
    const HostCopy values(master);  // tensors of several names may fill it
    float* to = values.view().data<float>();
    for_each_overlap(part.region, tensor.region, [&](int64_t ours, int64_t theirs, int64_t count) {
      copy_elements(from + static_cast<size_t>(theirs) * size_of(entry.dtype), entry.dtype, to + ours, DType::f32, count);
    });
    copy_between_devices(values.view(), master);
  }
}

}  // namespace

std::vector<std::string> load_hf_bert(const std::filesystem::path& directory, bool post_norm, BertHead head, Parameters& parameters, bool with_classifier) {
  SafetensorsDirectory files(directory);
  std::vector<std::string> missing;
  const std::vector<ParameterPart> owned = owned_parts(parameters);
  for (const ParameterSpec& spec : parameters.table().specs()) {
    if (!with_classifier && spec.name.starts_with("classifier.")) {
      missing.push_back(spec.name);
      continue;
    }
    for (const HfBertTensor& tensor : hf_tensors_of(spec, head, post_norm)) {
      const auto found = find_name(files, tensor.name);
      if (!found) {
        check(belongs_to_head(spec.name), "{}: there is no tensor {}", directory.string(), tensor.name);
        missing.push_back(spec.name);
        break;
      }
      const SafetensorsFile& file = files.file_of(*found);
      const SafetensorsEntry& entry = file.get(*found);
      check(entry.shape == tensor.shape, "{}: tensor {} has shape {}, and {} is asked for", file.path().string(), *found, entry.shape.to_string(),
            tensor.shape.to_string());
      check(can_convert(entry.dtype, DType::f32), "{}: tensor {} has elements of {}, which cannot be read as f32", file.path().string(), *found,
            name_of(entry.dtype));
      read_parts(file, entry, tensor, owned, parameters);
    }
  }
  return missing;
}

std::vector<std::string> load_hf_bert(const std::filesystem::path& directory, Bert& model) {
  auto missing = load_hf_bert(directory, model.config().post_norm, model.head().head, model.parameters());
  model.parameters().refresh_copies({});
  return missing;
}

std::vector<HfBertTensor> hf_bert_tensors(const HfBertConfig& config) {
  std::vector<HfBertTensor> tensors;
  const ModelPart whole{.first_layer = 0, .num_layers = config.model.num_layers};
  const StageLayout layout = declare_stage(config.model, whole, 0, 1, config.head);
  for (const ParameterSpec& spec : layout.table.specs())
    for (HfBertTensor& tensor : hf_tensors_of(spec, config.head.head, config.model.post_norm)) tensors.push_back(std::move(tensor));
  std::ranges::sort(tensors, {}, &HfBertTensor::name);
  return tensors;
}

void write_hf_bert(const std::filesystem::path& directory, const HfBertConfig& config, DType dtype,
                   const std::function<Tensor(const HfBertTensor&)>& values) {
  const std::vector<HfBertTensor> tensors = hf_bert_tensors(config);
  std::vector<SafetensorsSpec> specs;
  for (const HfBertTensor& tensor : tensors) specs.push_back({tensor.name, dtype, tensor.shape});
  SafetensorsWriter file(directory / "model.safetensors", std::move(specs), {{"format", "pt"}});
  for (size_t i = 0; i < tensors.size(); ++i) {
    check(file.order()[i].name == tensors[i].name, "{} is not where it was expected in the file", tensors[i].name);
    const OwnedTensor written(tensors[i].shape, dtype);
    copy_elements(values(tensors[i]).raw(), DType::f32, written.view().raw(), dtype, written.view().numel());
    file.write(written.view().raw(), written.view().bytes());
  }
  file.commit();
  write_file_atomic(directory / "config.json", hf_bert_config_json(config));
}

void write_hf_bert(const std::filesystem::path& directory, const Bert& model, const std::vector<std::string>& labels, DType dtype) {
  const Parameters& parameters = model.parameters();
  std::map<std::string, int> index;
  for (int i = 0; i < static_cast<int>(parameters.table().specs().size()); ++i) index[parameters.table()[i].name] = i;
  write_hf_bert(directory, {model.config(), model.head(), labels}, dtype, [&](const HfBertTensor& tensor) {
    const Tensor whole = parameters.master(index.at(tensor.parameter));
    return tensor.region.numel() == whole.numel() ? whole : whole.narrow(0, tensor.region.offset[0], 1);
  });
}

}  // namespace triax
