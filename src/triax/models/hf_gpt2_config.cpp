#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/models/hf_config.h"
#include "triax/models/hf_gpt2.h"

namespace triax {
namespace {

std::optional<int64_t> token_or(const Json& json, const char* key, int64_t fallback, const std::string& path) {
  if (json.contains(key) && json[key].is_null()) return std::nullopt;
  return value_or(json, key, fallback, path);
}

Activation activation_from(const std::string& name, const std::string& path) {
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return Activation::gelu_tanh;
  if (name == "gelu") return Activation::gelu_erf;
  fail("{}: \"activation_function\" is \"{}\"; triax computes \"gelu_new\" and \"gelu\"", path, name);
}

void refuse_variations(const Json& json, const std::string& path) {
  const struct {
    const char* key;
    bool usual;
  } kVariations[] = {{"scale_attn_weights", true}, {"scale_attn_by_inverse_layer_idx", false}, {"add_cross_attention", false}};
  for (const auto& [key, usual] : kVariations)
    check(value_or(json, key, usual, path) == usual, "{}: \"{}\" is {}, a variation of GPT-2 that triax does not compute",
          path, key, !usual);
}

}  // namespace

HfGpt2Config read_hf_gpt2_config(const std::filesystem::path& directory) {
  const std::string path = (directory / "config.json").string();
  const Json json = Json::parse_or_null(read_file(path));
  check(json.is_object(), "{}: not a JSON object", path);
  const auto type = value_or<std::string>(json, "model_type", "gpt2", path);
  check(type == "gpt2", "{}: \"model_type\" is \"{}\", not \"gpt2\"", path, type);
  refuse_variations(json, path);

  HfGpt2Config config;
  ModelConfig& model = config.model;
  model.vocab_size = size_or(json, "vocab_size", 50257, path);
  model.max_positions = size_or(json, "n_positions", 1024, path);
  model.hidden_size = size_or(json, "n_embd", 768, path);
  model.num_layers = size_or(json, "n_layer", 12, path);
  model.num_heads = size_or(json, "n_head", 12, path);
  model.ffn_hidden_size = size_or(json, "n_inner", 4 * model.hidden_size, path);
  check(model.hidden_size % model.num_heads == 0, "{}: \"n_embd\" {} is not a multiple of \"n_head\" {}", path,
        model.hidden_size, model.num_heads);
  model.activation = activation_from(value_or<std::string>(json, "activation_function", "gelu_new", path), path);
  model.layernorm_epsilon = value_or(json, "layer_norm_epsilon", 1e-5, path);
  model.init_std = value_or(json, "initializer_range", 0.02, path);
  model.hidden_dropout = value_or(json, "resid_pdrop", 0.1, path);
  model.attention_dropout = value_or(json, "attn_pdrop", 0.1, path);
  config.bos_token_id = token_or(json, "bos_token_id", 50256, path);
  config.eos_token_id = token_or(json, "eos_token_id", 50256, path);
  return config;
}

std::string hf_gpt2_config_json(const HfGpt2Config& config, DType dtype) {
  const ModelConfig& model = config.model;
  const auto or_null = [](std::optional<int64_t> value) { return value ? Json(*value) : Json(nullptr); };
  const Json json = {
      {"architectures", Json::array({"GPT2LMHeadModel"})},
      {"model_type", "gpt2"},
      {"vocab_size", model.vocab_size},
      {"n_positions", model.max_positions},
      {"n_ctx", model.max_positions},
      {"n_embd", model.hidden_size},
      {"n_layer", model.num_layers},
      {"n_head", model.num_heads},
      {"n_inner", model.ffn_size() == 4 * model.hidden_size ? Json(nullptr) : Json(model.ffn_size())},
      {"activation_function", model.activation == Activation::gelu_tanh ? "gelu_new" : "gelu"},
      {"layer_norm_epsilon", model.layernorm_epsilon},
      {"initializer_range", model.effective_init_std()},
      {"resid_pdrop", model.hidden_dropout},
      {"embd_pdrop", model.hidden_dropout},
      {"attn_pdrop", model.attention_dropout},
      {"bos_token_id", or_null(config.bos_token_id)},
      {"eos_token_id", or_null(config.eos_token_id)},
      {"tie_word_embeddings", true},
      {"torch_dtype", dtype == DType::bf16 ? "bfloat16" : dtype == DType::f16 ? "float16" : "float32"},
  };
  return json.dump(2) + "\n";
}

}  // namespace triax
