#include "triax/base/json.h"
#include "triax/models/hf_gpt2.h"

#include <gtest/gtest.h>

#include <map>

#include "checkpoint/checkpoint_testing.h"

namespace triax {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::expect_contains;

const fs::path kFixture = fs::path(TRIAX_TEST_DATA) / "hf_gpt2";

// The fixture's tensors under our names, as torch made them.
const SafetensorsFile& ours() {
  static const SafetensorsFile file(kFixture / "ours.safetensors");
  return file;
}

std::vector<float> values(const Tensor& tensor) { return {tensor.data<float>(), tensor.data<float>() + tensor.numel()}; }

std::vector<float> expected(const std::string& name) {
  const OwnedTensor tensor(ours().get(name).shape, DType::f32);
  ours().read(ours().get(name), tensor);
  return values(tensor);
}

void expect_all_equal(HfGpt2Reader& reader) {
  const std::vector<NamedShape> tensors = gpt_tensors(reader.config().model);
  EXPECT_EQ(tensors.size(), ours().tensors().size());
  for (const NamedShape& tensor : tensors) {
    EXPECT_EQ(tensor.shape, ours().get(tensor.name).shape) << tensor.name;
    const OwnedTensor read(tensor.shape, DType::f32);
    reader.read(tensor.name, read);
    EXPECT_EQ(values(read), expected(tensor.name)) << tensor.name;
  }
}

TEST(HfGpt2, ReadsAModelSavedByTransformers) {
  HfGpt2Reader reader(kFixture);
  const ModelConfig& model = reader.config().model;
  EXPECT_EQ(model.vocab_size, 37);
  EXPECT_EQ(model.max_positions, 6);
  EXPECT_EQ(model.ffn_size(), 20);
  EXPECT_EQ(model.activation, Activation::gelu_erf);
  EXPECT_EQ(model.layernorm_epsilon, 1e-6);
  EXPECT_EQ(model.hidden_dropout, 0.25);
  EXPECT_EQ(model.attention_dropout, 0.5);
  EXPECT_EQ(reader.config().eos_token_id, 36);
  expect_all_equal(reader);
}

TEST(HfGpt2, WritesTheBytesThatTransformersWrites) {
  const TemporaryDirectory folder;
  HfGpt2Reader reader(kFixture);
  uint64_t written = 0;
  write_hf_gpt2(folder.path(), reader.config(), [&](const std::string& name, const Tensor& to) { ours().read(ours().get(name), to); },
                {.progress = [&](uint64_t bytes) { written += bytes; }});
  EXPECT_EQ(read_file(folder.path() / "model.safetensors"), read_file(kFixture / "model.safetensors"));
  EXPECT_EQ(written, static_cast<uint64_t>(reader.config().model.num_parameters()) * 4);
  const auto config = Json::parse(read_file(folder.path() / "config.json"), "stored");
  const auto theirs = Json::parse(read_file(kFixture / "config.json"), "stored");
  for (const char* key : {"architectures", "model_type", "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner",
                          "activation_function", "layer_norm_epsilon", "initializer_range", "resid_pdrop", "embd_pdrop",
                          "attn_pdrop", "bos_token_id", "eos_token_id", "tie_word_embeddings"})
    EXPECT_EQ(config.at(key), theirs.at(key)) << key;
  EXPECT_EQ(config.at("torch_dtype"), "float32");
}

TEST(HfGpt2, RoundTripsInHalfPrecision) {
  HfGpt2Reader reader(kFixture);
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const TemporaryDirectory folder;
    write_hf_gpt2(folder.path(), reader.config(), [&](const std::string& name, const Tensor& to) { reader.read(name, to); }, {.dtype = dtype});
    HfGpt2Reader half(folder.path());
    for (const NamedShape& tensor : gpt_tensors(reader.config().model)) {
      const OwnedTensor read(tensor.shape, DType::f32);
      half.read(tensor.name, read);
      std::vector<float> rounded = expected(tensor.name);
      for (float& x : rounded) x = dtype == DType::bf16 ? float(bf16(x)) : float(f16(x));
      EXPECT_EQ(values(read), rounded) << tensor.name;
    }
  }
}

// Writes the fixture's tensors, renamed by `rename` ("" leaves one out), over the files that it chooses.
class HfGpt2Variant : public ::testing::Test {
 protected:
  void write(const std::string& file, const std::function<std::string(const std::string&)>& rename,
             const std::vector<std::pair<SafetensorsSpec, std::string>>& extra = {}) {
    const SafetensorsFile theirs(kFixture / "model.safetensors");
    std::map<std::string, std::string> bytes;
    std::vector<SafetensorsSpec> specs;
    for (const SafetensorsEntry& entry : theirs.tensors()) {
      const std::string name = rename(entry.name);
      if (name.empty()) continue;
      const auto data = theirs.bytes(entry);
      bytes[name].assign(reinterpret_cast<const char*>(data.data()), data.size());
      specs.push_back({name, entry.dtype, entry.shape});
    }
    for (const auto& [spec, data] : extra) {
      bytes[spec.name] = data;
      specs.push_back(spec);
    }
    SafetensorsWriter writer(folder_.path() / file, std::move(specs), {});
    for (const SafetensorsSpec& spec : writer.order()) writer.write(bytes[spec.name].data(), bytes[spec.name].size());
    writer.commit();
    if (!fs::exists(folder_.path() / "config.json")) fs::copy_file(kFixture / "config.json", folder_.path() / "config.json");
  }
  void configure(const std::string& key, const Json& value) {
    auto config = Json::parse(read_file(kFixture / "config.json"), "stored");
    config[key] = value;
    testing::write_raw(folder_.path() / "config.json", config.dump());
  }
  std::string reading() {
    return error_of([&] { HfGpt2Reader reader(folder_.path()); });
  }
  TemporaryDirectory folder_;
};

std::string without_prefix(const std::string& name) { return name.substr(std::string("transformer.").size()); }
std::string same_name(const std::string& name) { return name; }

TEST_F(HfGpt2Variant, WithoutPrefixWithMasksAndATiedHead) {
  const SafetensorsFile theirs(kFixture / "model.safetensors");
  const auto data = theirs.bytes(theirs.get("transformer.wte.weight"));
  write("model.safetensors", without_prefix,
        {{{"h.0.attn.bias", DType::u8, {1, 1, 6, 6}}, std::string(36, '\1')},
         {{"h.0.attn.masked_bias", DType::f32, {}}, std::string(4, '\0')},
         {{"lm_head.weight", DType::f32, {37, 8}}, std::string(reinterpret_cast<const char*>(data.data()), data.size())}});
  HfGpt2Reader reader(folder_.path());
  expect_all_equal(reader);
}

TEST_F(HfGpt2Variant, Shards) {
  const auto first = [](const std::string& name) { return name.find(".h.1.") == std::string::npos ? name : std::string(); };
  const auto second = [](const std::string& name) { return name.find(".h.1.") != std::string::npos ? name : std::string(); };
  write("model-00001-of-00002.safetensors", first);
  write("model-00002-of-00002.safetensors", second);
  Json index;
  const SafetensorsFile whole(kFixture / "model.safetensors");
  for (const SafetensorsEntry& entry : whole.tensors())
    index["weight_map"][entry.name] = fmt::format("model-0000{}-of-00002.safetensors", second(entry.name).empty() ? 1 : 2);
  testing::write_raw(folder_.path() / "model.safetensors.index.json", index.dump());
  HfGpt2Reader reader(folder_.path());
  expect_all_equal(reader);
}

TEST_F(HfGpt2Variant, PadsTheVocabularyWithZeros) {
  write("model.safetensors", same_name);
  HfGpt2Reader reader(folder_.path());
  const OwnedTensor padded({40, 8}, DType::f32);
  for (float& x : padded.span<float>()) x = 1;
  reader.read("embedding.token", padded);
  std::vector<float> rows = expected("embedding.token");
  rows.resize(40 * 8, 0.0f);
  EXPECT_EQ(values(padded), rows);
  expect_contains(error_of([&] { reader.read("embedding.token", OwnedTensor({36, 8}, DType::f32)); }), "[37, 8] there");
  expect_contains(error_of([&] { reader.read("layers.0.qkv.weight", OwnedTensor({3, 2, 4, 4}, DType::f32)); }), "[8, 24] there");
  expect_contains(error_of([&] { reader.read("layers.0.qkv", OwnedTensor({1}, DType::f32)); }), "no tensor \"layers.0.qkv\"");
  expect_contains(error_of([&] { reader.read("layers.7.qkv.bias", OwnedTensor({3, 2, 4}, DType::f32)); }), "no tensor \"transformer.h.7.attn.c_attn.bias\"");
}

TEST_F(HfGpt2Variant, NamesWhatDoesNotFit) {
  write("model.safetensors", same_name);
  const std::pair<std::pair<const char*, Json>, const char*> cases[] = {
      {{"model_type", "llama"}, "\"model_type\" is \"llama\", not \"gpt2\""},
      {{"activation_function", "relu"}, "triax computes \"gelu_new\" and \"gelu\""},
      {{"scale_attn_by_inverse_layer_idx", true}, "a variation of GPT-2"},
      {{"n_layer", "2"}, "\"n_layer\" is \"2\", which is not the right kind"},
      {{"n_layer", -1}, "\"n_layer\" is -1, which is not a size"},
      {{"n_layer", 1000000000}, "n_layer = 1000000000, but there is no tensor transformer.h.999999999.ln_1.weight"},
      {{"n_layer", 3}, "no tensor transformer.h.2.ln_1.weight"},
      {{"n_head", 3}, "\"n_embd\" 8 is not a multiple of \"n_head\" 3"},
      {{"n_inner", 32}, "mlp.c_fc.weight has shape [8, 20], and config.json asks for [8, 32]"},
      {{"vocab_size", 38}, "wte.weight has shape [37, 8]"},
      {{"layer_norm_epsilon", "small"}, "not the right kind"},
  };
  for (const auto& [change, message] : cases) {
    configure(change.first, change.second);
    expect_contains(reading(), message);
  }
  testing::write_raw(folder_.path() / "config.json", "{\"model_type\":");
  expect_contains(reading(), "not a JSON object");
  fs::remove(folder_.path() / "config.json");
  write("model.safetensors", [](const std::string& name) { return name.ends_with("ln_f.bias") ? std::string() : name; });
  expect_contains(reading(), "there is no tensor \"transformer.ln_f.bias\"");
  write("model.safetensors", same_name, {{{"lm_head.weight", DType::f32, {37, 8}}, std::string(37 * 8 * 4, '\0')}});
  expect_contains(reading(), "tied head only");
}

}  // namespace
}  // namespace triax
