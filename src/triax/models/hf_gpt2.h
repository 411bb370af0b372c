// GPT-2 in the files of Hugging Face: config.json and model.safetensors, or the shards that
// model.safetensors.index.json names (transformers, models/gpt2/modeling_gpt2.py).
//
// Their tensors are ours under other names; their four matrices of every layer (Conv1D) are stored
// [in, out] and ours [out, in]:
//
//   wte.weight, wpe.weight             embedding.token, embedding.position
//   h.<i>.ln_1.*, h.<i>.ln_2.*         layers.<i>.attention_norm.*, layers.<i>.mlp_norm.*
//   h.<i>.attn.c_attn.* [h, 3 h]       layers.<i>.qkv.* [3, a, d, h]
//   h.<i>.attn.c_proj.*                layers.<i>.attention_output.*
//   h.<i>.mlp.c_fc.*, h.<i>.mlp.c_proj.*   layers.<i>.mlp_up.*, layers.<i>.mlp_down.*
//   ln_f.*                             final_norm.*
//
// all of them with or without "transformer." in front. The head is tied to wte. The buffers of the causal
// mask that old files hold (attn.bias, attn.masked_bias) are passed over.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "triax/checkpoint/safetensors.h"
#include "triax/models/model_config.h"
#include "triax/tensor/tensor.h"

namespace triax {

struct HfGpt2Config {
  ModelConfig model;
  std::optional<int64_t> bos_token_id, eos_token_id;
};

struct NamedShape {
  std::string name;
  Shape shape;
};

// Every tensor of a GPT under our names, with global shapes (no vocabulary padding).
std::vector<NamedShape> gpt_tensors(const ModelConfig& config);

// config.json of a directory. What it leaves out is as in transformers. Throws Error, naming file and key,
// for a model that is not GPT-2 or has a variation that triax does not compute.
HfGpt2Config read_hf_gpt2_config(const std::filesystem::path& directory);
// The text of config.json for a model whose weights are stored as `dtype`.
std::string hf_gpt2_config_json(const HfGpt2Config& config, DType dtype);

// A model directory for reading. The constructor checks that every tensor of the configuration is there
// with its shape.
class HfGpt2Reader {
 public:
  explicit HfGpt2Reader(const std::filesystem::path& directory);
  const HfGpt2Config& config() const { return config_; }
  // Reads a tensor by our name to `to`: f32, contiguous, on the CPU, in our shape. Rows of embedding.token
  // beyond the stored vocabulary are filled with zeros.
  void read(std::string_view name, const Tensor& to);

 private:
  HfGpt2Config config_;
  SafetensorsDirectory files_;
  std::string prefix_;  // "transformer." or ""
};

struct HfWriteOptions {
  DType dtype = DType::f32;                           // or bf16, f16
  std::function<void(uint64_t bytes)> progress = {};  // called with the bytes of every tensor written
};

// Writes config.json and model.safetensors to an existing directory. `supply(name, to)` is called once for
// every tensor of gpt_tensors(), in the order of the file, and fills `to` (f32, in our shape).
void write_hf_gpt2(const std::filesystem::path& directory, const HfGpt2Config& config,
                   const std::function<void(const std::string& name, const Tensor& to)>& supply,
                   const HfWriteOptions& options = {});

}  // namespace triax
