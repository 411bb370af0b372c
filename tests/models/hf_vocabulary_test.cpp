#include "triax/models/hf_vocabulary.h"

#include <gtest/gtest.h>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/json.h"
#include "triax/models/hf_bert.h"
#include "triax/models/hf_gpt2.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOld = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nkin\n##ase\n##s\n";
constexpr const char* kNew = "[UNK]\n[PAD]\n[CLS]\n[SEP]\n[MASK]\nkinase\nkin\nkinases\nzz\n";

std::unique_ptr<Tokenizer> vocabulary(const fs::path& folder, const char* lines) {
  fs::create_directories(folder);
  write_file_atomic(folder / "vocab.txt", lines);
  return load_tokenizer(folder);
}

std::vector<float> numbers(const fs::path& folder, const std::string& name, int64_t rows, int64_t width) {
  SafetensorsDirectory files(folder);
  const OwnedTensor values(width > 0 ? Shape{rows, width} : Shape{rows}, DType::f32);
  files.read(name, values.view());
  const auto span = values.span<float>();
  return {span.begin(), span.end()};
}

TEST(HfVocabulary, GivesBertAnother) {
  const TemporaryDirectory folder;
  const fs::path old = folder.path() / "old", fresh = folder.path() / "new";
  const auto from = vocabulary(old, kOld), to = vocabulary(folder.path() / "words", kNew);
  Bert bert({.kind = ModelKind::bert, .vocab_size = 8, .hidden_size = 4, .num_layers = 1, .num_heads = 2, .ffn_hidden_size = 8, .max_positions = 6, .post_norm = true}, {.head = BertHead::pretraining});
  bert.parameters().initialize({}, 3);
  for (int i = 0; i < static_cast<int>(bert.parameters().table().specs().size()); ++i)
    if (bert.parameters().table()[i].name == "masked.bias")
      for (int token = 0; token < 8; ++token) bert.parameters().master(i).data<float>()[token] = static_cast<float>(token);
  write_hf_bert(old, bert, {});
  fs::create_directories(fresh);
  transfer_hf_vocabulary(old, map_vocabulary(*from, *to), *to, fresh);

  const std::string embedding = "bert.embeddings.word_embeddings.weight";
  const auto before = numbers(old, embedding, 8, 4), after = numbers(fresh, embedding, 9, 4);
  for (size_t j = 0; j < 4; ++j) {
    EXPECT_EQ(after[0 + j], before[4 + j]);             // [UNK] moved
    EXPECT_EQ(after[6 * 4 + j], before[5 * 4 + j]);     // kin stayed itself
    EXPECT_FLOAT_EQ(after[5 * 4 + j], (before[5 * 4 + j] + before[6 * 4 + j]) / 2);
    EXPECT_FLOAT_EQ(after[7 * 4 + j], (before[5 * 4 + j] + before[6 * 4 + j] + before[7 * 4 + j]) / 3);
    float sum = 0;
    for (size_t token = 0; token < 8; ++token) sum += before[token * 4 + j] / 8;
    EXPECT_NEAR(after[8 * 4 + j], sum, 1e-6);           // what it cannot spell
  }
  EXPECT_EQ(numbers(fresh, "cls.predictions.bias", 9, 0), (std::vector<float>{1, 0, 2, 3, 4, 5.5, 5, 6, 3.5}));
  EXPECT_EQ(numbers(fresh, "bert.encoder.layer.0.intermediate.dense.weight", 8, 4), numbers(old, "bert.encoder.layer.0.intermediate.dense.weight", 8, 4));
  // What comes out is a model: it loads, with the tokenizer beside it.
  const HfBertConfig config = read_hf_bert_config(fresh);
  EXPECT_EQ(config.model.vocab_size, 9);
  Bert again(config.model, config.head);
  EXPECT_TRUE(load_hf_bert(fresh, again).empty());
  EXPECT_EQ(load_tokenizer(fresh)->encode("kinases"), std::vector<int32_t>{7});
  EXPECT_EQ(Json::parse(read_file(fresh / "config.json"), "config.json").at("pad_token_id").integer(), 1);
}

TEST(HfVocabulary, KeepsTheTypeOfNumbers) {
  const TemporaryDirectory folder;
  const fs::path old = folder.path() / "old", fresh = folder.path() / "new";
  const auto from = vocabulary(folder.path() / "old words", kOld), to = vocabulary(folder.path() / "words", kNew);
  HfGpt2Config config;
  config.model.vocab_size = 8, config.model.hidden_size = 4, config.model.num_layers = 1, config.model.num_heads = 2, config.model.max_positions = 6;
  fs::create_directories(old);
  fs::create_directories(fresh);
  write_hf_gpt2(old, config, [](const std::string&, const Tensor& values) {
    for (int64_t i = 0; i < values.numel(); ++i) values.data<float>()[i] = static_cast<float>(i);
  }, {.dtype = DType::bf16});
  transfer_hf_vocabulary(old, map_vocabulary(*from, *to), *to, fresh);
  HfGpt2Reader reader(fresh);
  EXPECT_EQ(reader.config().model.vocab_size, 9);
  const OwnedTensor table({9, 4}, DType::f32);
  reader.read("embedding.token", table);
  EXPECT_EQ(table.span<float>()[5 * 4], 22);  // of 20 and 24
  const SafetensorsFile before(old / "model.safetensors"), after(fresh / "model.safetensors");
  EXPECT_EQ(after.tensors().size(), before.tensors().size());
  for (const SafetensorsEntry& entry : after.tensors()) EXPECT_EQ(entry.dtype, DType::bf16) << entry.name;
}

TEST(HfVocabulary, RefusesWhatDoesNotFit) {
  const TemporaryDirectory folder;
  const fs::path old = folder.path() / "old";
  const auto from = vocabulary(old, kOld), to = vocabulary(folder.path() / "words", kNew);
  Bert bert({.kind = ModelKind::bert, .vocab_size = 6, .hidden_size = 4, .num_layers = 1, .num_heads = 2, .ffn_hidden_size = 8, .max_positions = 6, .post_norm = true});
  write_hf_bert(old, bert, {});
  const auto error = [&] {
    try {
      transfer_hf_vocabulary(old, map_vocabulary(*from, *to), *to, folder.path());
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(error().find("there are 6 rows, and the old vocabulary has a token"), std::string::npos) << error();
  SafetensorsWriter(old / "model.safetensors", {}).commit();
  EXPECT_NE(error().find("there is no embedding of BERT or GPT-2"), std::string::npos) << error();
}

}  // namespace
}  // namespace triax
