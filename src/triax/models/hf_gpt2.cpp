#include "triax/models/hf_gpt2.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <unordered_map>

#include "triax/base/error.h"
#include "triax/base/log.h"
#include "triax/base/parallel.h"
#include "triax/checkpoint/elements.h"

namespace triax {
namespace {

constexpr const char* kPrefix = "transformer.";

struct Correspondence {
  std::string_view ours, theirs;
  bool transposed;
};

constexpr std::array<Correspondence, 12> kGpt2Layer = {{
    {"attention_norm.weight", "ln_1.weight", false},
    {"attention_norm.bias", "ln_1.bias", false},
    {"qkv.weight", "attn.c_attn.weight", true},
    {"qkv.bias", "attn.c_attn.bias", false},
    {"attention_output.weight", "attn.c_proj.weight", true},
    {"attention_output.bias", "attn.c_proj.bias", false},
    {"mlp_norm.weight", "ln_2.weight", false},
    {"mlp_norm.bias", "ln_2.bias", false},
    {"mlp_up.weight", "mlp.c_fc.weight", true},
    {"mlp_up.bias", "mlp.c_fc.bias", false},
    {"mlp_down.weight", "mlp.c_proj.weight", true},
    {"mlp_down.bias", "mlp.c_proj.bias", false},
}};

constexpr std::array<Correspondence, 4> kGpt2Outside = {{
    {"embedding.token", "wte.weight", false},
    {"embedding.position", "wpe.weight", false},
    {"final_norm.weight", "ln_f.weight", false},
    {"final_norm.bias", "ln_f.bias", false},
}};

struct HfTensor {
  std::string name;  // without "transformer."
  bool transposed = false;
};

HfTensor hf_tensor(std::string_view ours) {
  for (const Correspondence& pair : kGpt2Outside)
    if (ours == pair.ours) return {std::string(pair.theirs), pair.transposed};
  constexpr std::string_view kLayers = "layers.";
  const size_t dot = ours.find('.', kLayers.size());
  if (ours.starts_with(kLayers) && dot != std::string_view::npos)
    for (const Correspondence& pair : kGpt2Layer)
      if (ours.substr(dot + 1) == pair.ours)
        return {fmt::format("h.{}.{}", ours.substr(kLayers.size(), dot - kLayers.size()), pair.theirs),
                pair.transposed};
  fail("a GPT has no tensor \"{}\"", ours);
}

// What a matrix of ours is in [out, in]: qkv is [3, a, d, h] and flattens to [3 h, h].
Shape as_matrix(const Shape& ours) { return {ours.numel() / ours[-1], ours[-1]}; }

// Our shape as the file has it.
Shape hf_shape(const Shape& ours, const HfTensor& tensor) {
  if (tensor.transposed) return {ours[-1], ours.numel() / ours[-1]};
  return tensor.name.ends_with("c_attn.bias") ? Shape{ours.numel()} : ours;
}

// to [cols, rows] = transpose of from [rows, cols]; a tile of 64 x 64 at a time stays in the cache.
void transpose_to_f32(const std::byte* from, DType dtype, int64_t rows, int64_t cols, float* to) {
  constexpr int64_t kTile = 64;
  const auto size = static_cast<int64_t>(size_of(dtype));
  parallel_for(cols, kTile, [&](int64_t first_col, int64_t end_col) {
    std::array<float, kTile * kTile> tile;
    for (int64_t first_row = 0; first_row < rows; first_row += kTile) {
      const int64_t end_row = std::min(rows, first_row + kTile);
      for (int64_t row = first_row; row < end_row; ++row)
        copy_elements(from + (row * cols + first_col) * size, dtype,
                      tile.data() + (row - first_row) * kTile, DType::f32, end_col - first_col);
      for (int64_t col = first_col; col < end_col; ++col)
        for (int64_t row = first_row; row < end_row; ++row)
          to[col * rows + row] =
              tile[static_cast<size_t>((row - first_row) * kTile + col - first_col)];
    }
  });
}

// Tensors of the file that a language model of this configuration does not have and that are not known to
// be harmless.
std::vector<std::string> foreign_tensors(const SafetensorsDirectory& files, const std::set<std::string>& known,
                                         const std::string& prefix) {
  std::vector<std::string> foreign;
  for (const std::string& name : files.names()) {
    const std::string plain = name.starts_with(prefix) ? name.substr(prefix.size()) : name;
    const bool mask = plain.starts_with("h.") && (plain.ends_with(".attn.bias") || plain.ends_with(".attn.masked_bias"));
    if (!mask && plain != "lm_head.weight" && !known.contains(plain)) foreign.push_back(name);
  }
  return foreign;
}

// A head of its own would be lost: refused, unless it equals the embedding.
void check_tied(SafetensorsDirectory& files, const std::string& embedding) {
  if (!files.contains("lm_head.weight")) return;
  const SafetensorsFile &head_file = files.file_of("lm_head.weight"), &embedding_file = files.file_of(embedding);
  const auto head = head_file.bytes(head_file.get("lm_head.weight"));
  const auto table = embedding_file.bytes(embedding_file.get(embedding));
  check(head.size() == table.size() && std::memcmp(head.data(), table.data(), head.size()) == 0,
        "{}: lm_head.weight differs from {}; triax computes GPT with a tied head only",
        files.path().string(), embedding);
}

}  // namespace

std::vector<NamedShape> gpt_tensors(const ModelConfig& config) {
  const int64_t h = config.hidden_size, a = config.num_heads, f = config.ffn_size();
  std::vector<NamedShape> tensors = {{"embedding.token", {config.vocab_size, h}},
                                     {"embedding.position", {config.max_positions, h}}};
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    for (const Correspondence& pair : kGpt2Layer) {
      const std::string_view name = pair.ours;
      const Shape shape = name == "qkv.weight"                ? Shape{3, a, h / a, h}
                          : name == "qkv.bias"                ? Shape{3, a, h / a}
                          : name == "attention_output.weight" ? Shape{h, h}
                          : name == "mlp_up.weight"           ? Shape{f, h}
                          : name == "mlp_up.bias"             ? Shape{f}
                          : name == "mlp_down.weight"         ? Shape{h, f}
                                                              : Shape{h};
      tensors.push_back({fmt::format("layers.{}.{}", layer, name), shape});
    }
  tensors.push_back({"final_norm.weight", {h}});
  tensors.push_back({"final_norm.bias", {h}});
  return tensors;
}

HfGpt2Reader::HfGpt2Reader(const std::filesystem::path& directory)
    : config_(read_hf_gpt2_config(directory)), files_(directory) {
  prefix_ = files_.contains(std::string(kPrefix) + "wte.weight") ? kPrefix : "";
  // The number of layers is checked before it is believed.
  const std::string last_layer = fmt::format("{}h.{}.ln_1.weight", prefix_, config_.model.num_layers - 1);
  check(files_.contains(last_layer), "{}: config.json says n_layer = {}, but there is no tensor {}",
        directory.string(), config_.model.num_layers, last_layer);
  std::set<std::string> known;
  for (const NamedShape& tensor : gpt_tensors(config_.model)) {
    const HfTensor theirs = hf_tensor(tensor.name);
    const SafetensorsFile& file = files_.file_of(prefix_ + theirs.name);
    const SafetensorsEntry& entry = file.get(prefix_ + theirs.name);
    const Shape expected = hf_shape(tensor.shape, theirs);
    check(entry.shape == expected, "{}: tensor {} has shape {}, and config.json asks for {}",
          file.path().string(), entry.name, entry.shape.to_string(), expected.to_string());
    check(can_convert(entry.dtype, DType::f32), "{}: tensor {} holds {}, not floating-point numbers",
          file.path().string(), entry.name, name_of(entry.dtype));
    known.insert(theirs.name);
  }
  check_tied(files_, prefix_ + "wte.weight");
  const std::vector<std::string> foreign = foreign_tensors(files_, known, prefix_);
  if (!foreign.empty())
    log_warning("{}: {} tensors that a GPT-2 language model of {} layers does not have are left out: {}{}",
                directory.string(), foreign.size(), config_.model.num_layers, quoted_name(foreign.front()),
                foreign.size() > 1 ? ", ..." : "");
}

void HfGpt2Reader::read(std::string_view name, const Tensor& to) {
  const HfTensor theirs = hf_tensor(name);
  const SafetensorsFile& file = files_.file_of(prefix_ + theirs.name);
  const SafetensorsEntry& entry = file.get(prefix_ + theirs.name);
  check(to.dtype() == DType::f32 && to.is_contiguous() && to.device().kind == Device::Kind::cpu,
        "{}: {} can only be read as contiguous f32 on the CPU", file.path().string(), name);
  Shape stored = to.shape();
  if (name == "embedding.token" && stored.rank() == 2) stored[0] = std::min(stored[0], entry.shape[0]);
  check(stored.rank() > 0 && hf_shape(stored, theirs) == entry.shape, "{}: {} is {} there, which is not {} {}", file.path().string(),
        entry.name, entry.shape.to_string(), name, to.shape().to_string());
  const std::byte* from = file.bytes(entry).data();
  if (theirs.transposed) {
    transpose_to_f32(from, entry.dtype, entry.shape[0], entry.shape[1], to.data<float>());
  } else {
    copy_elements(from, entry.dtype, to.raw(), DType::f32, stored.numel());
    std::fill(to.data<float>() + stored.numel(), to.data<float>() + to.numel(), 0.0f);
  }
}

void write_hf_gpt2(const std::filesystem::path& directory, const HfGpt2Config& config,
                   const std::function<void(const std::string&, const Tensor&)>& supply,
                   const HfWriteOptions& options) {
  check(options.dtype == DType::f32 || options.dtype == DType::bf16 || options.dtype == DType::f16,
        "a model of Hugging Face is written as f32, bf16 or f16, not as {}", name_of(options.dtype));
  std::vector<SafetensorsSpec> specs;
  std::unordered_map<std::string, NamedShape> ours;  // by their name
  int64_t largest = 0;
  for (const NamedShape& tensor : gpt_tensors(config.model)) {
    const HfTensor theirs = hf_tensor(tensor.name);
    specs.push_back({kPrefix + theirs.name, options.dtype, hf_shape(tensor.shape, theirs)});
    ours.emplace(specs.back().name, tensor);
    largest = std::max(largest, tensor.shape.numel());
  }
  // transformers asks for "format", to know which framework wrote the file.
  SafetensorsWriter file(directory / "model.safetensors", std::move(specs), {{"format", "pt"}});
  const OwnedTensor first({largest}, DType::f32), second({largest}, DType::f32);
  for (const SafetensorsSpec& spec : file.order()) {
    const NamedShape& tensor = ours.at(spec.name);
    const int64_t numel = tensor.shape.numel();
    supply(tensor.name, Tensor(first.view().raw(), tensor.shape, DType::f32));
    const Tensor *from = &first.view(), *other = &second.view();
    if (hf_tensor(tensor.name).transposed) {
      const Shape matrix = as_matrix(tensor.shape);
      transpose_to_f32(static_cast<const std::byte*>(from->raw()), DType::f32, matrix[0], matrix[1], other->data<float>());
      std::swap(from, other);
    }
    if (options.dtype != DType::f32) {
      copy_elements(from->raw(), DType::f32, other->raw(), options.dtype, numel);
      std::swap(from, other);
    }
    const size_t bytes = static_cast<size_t>(numel) * size_of(options.dtype);
    file.write(from->raw(), bytes);
    if (options.progress) options.progress(bytes);
  }
  file.commit();
  write_file_atomic(directory / "config.json", hf_gpt2_config_json(config, options.dtype));
}

}  // namespace triax
