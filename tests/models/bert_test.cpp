// BERT with every head against PyTorch: logits, losses and all gradients of data/make_hf_bert.py.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/checkpoint/safetensors.h"
#include "triax/models/hf_bert.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const std::string& name) { return fs::path(TRIAX_TEST_DATA) / "hf_bert" / name; }

OwnedTensor load_tensor(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsEntry& entry = file.get(name);
  OwnedTensor tensor(entry.shape, entry.dtype);
  file.read(entry, tensor);
  return tensor;
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) largest = std::max(largest, std::fabs(static_cast<double>(a[i]) - b[i]));
  return largest;
}

// The stored batch.
struct TaskBatch {
  explicit TaskBatch(const SafetensorsFile& file)
      : tokens(load_tensor(file, "tokens")), types(load_tensor(file, "types")), positions(load_tensor(file, "positions")), lengths(load_tensor(file, "lengths")) {
    int64_t start = 0;
    for (const int32_t length : lengths.span<int32_t>()) spans.push_back({start, length}), start += length;
    for (const char* name : {"labels", "starts", "ends", "masked", "order"})
      if (file.find(name)) whole[name] = load_tensor(file, name);
    for (const char* name : {"weights", "values"})
      if (file.find(name)) whole[name] = load_tensor(file, name);
  }
  BertInput input() const {
    BertInput in{tokens, types, positions, {}};
    in.layout.spans = spans;
    in.layout.max_length = 9;
    in.layout.training = false;
    return in;
  }
  template <typename T>
  std::span<const T> get(const char* name) const {
    const auto found = whole.find(name);
    return found == whole.end() ? std::span<const T>{} : std::span<const T>(found->second.template span<T>());
  }
  BertTargets targets() const {
    return {.labels = get<int32_t>("labels"), .weights = get<float>("weights"), .values = get<float>("values"), .starts = get<int32_t>("starts"),
            .ends = get<int32_t>("ends"), .choices = 2, .masked = get<int32_t>("masked"), .order = get<int32_t>("order")};
  }
  OwnedTensor tokens, types, positions, lengths;
  std::vector<Span> spans;
  std::map<std::string, OwnedTensor> whole;
};

class BertParity : public testing::TestWithParam<std::tuple<const char*, Recompute>> {
 protected:
  BertParity() : folder_(folder_of(std::get<0>(GetParam()))), config_(read_hf_bert_config(folder_)), file_(folder_ / "expected.safetensors"), batch_(file_) {}
  Bert model(const fs::path& folder) {
    Bert bert(config_.model, config_.head, std::get<1>(GetParam()), true);
    EXPECT_TRUE(load_hf_bert(folder, bert).empty());
    return bert;
  }
  Arena arena(const Bert& bert) const { return {"test", bert.memory_bytes(22, 4, 5, true)}; }

  fs::path folder_;
  HfBertConfig config_;
  SafetensorsFile file_;
  TaskBatch batch_;
};

TEST_P(BertParity, LogitsAndLossEqualPyTorch) {
  const Bert bert = model(folder_);
  Arena memory = arena(bert);
  const OwnedTensor expected = load_tensor(file_, "logits");
  const Tensor logits = bert.predict({}, batch_.input(), memory, batch_.targets().masked);
  EXPECT_EQ(logits.shape(), expected.view().shape());
  EXPECT_LT(largest_difference(logits.span<float>(), expected.span<float>()), 5e-5);
  EXPECT_NEAR(bert.loss({}, batch_.input(), batch_.targets(), memory), load_tensor(file_, "loss").span<float>()[0], 2e-5);
  if (config_.head.head == BertHead::pretraining) {
    const OwnedTensor order = load_tensor(file_, "order_logits");
    EXPECT_LT(largest_difference(bert.predict_order({}, batch_.input(), memory).span<float>(), order.span<float>()), 5e-5);
  }
}

TEST_P(BertParity, GradientsEqualPyTorch) {
  const Bert bert = model(folder_);
  const Bert expected = model(folder_ / "gradients");
  Arena memory = arena(bert);
  for (int round = 1; round <= 2; ++round) {  // they are added to
    EXPECT_NEAR(bert.train({}, batch_.input(), batch_.targets(), memory), load_tensor(file_, "loss").span<float>()[0], 2e-5);
    for (int i = 0; i < static_cast<int>(bert.parameters().table().specs().size()); ++i) {
      const auto mine = bert.parameters().gradient(i).span<float>();
      std::vector<float> theirs(mine.size());
      for (size_t j = 0; j < mine.size(); ++j) theirs[j] = static_cast<float>(round) * expected.parameters().master(i).data<float>()[j];
      EXPECT_LT(largest_difference(mine, theirs), 1e-4) << bert.parameters().table()[i].name;
    }
  }
}

std::string name_of_case(const testing::TestParamInfo<BertParity::ParamType>& tested) {
  const char* const ways[] = {"_none", "_selective", "_full"};
  return std::get<0>(tested.param) + std::string(ways[static_cast<size_t>(std::get<1>(tested.param))]);
}

INSTANTIATE_TEST_SUITE_P(
    Heads, BertParity,
    testing::Combine(testing::Values("tokens", "sequence", "regression", "choice", "spans", "pretraining", "megatron"),
                     testing::Values(Recompute::none, Recompute::selective, Recompute::full)),
    name_of_case);

TEST(HfBert, WritesWhatItReads) {
  for (const char* name : {"tokens", "sequence", "regression", "choice", "spans", "pretraining", "megatron"}) {
    const HfBertConfig config = read_hf_bert_config(folder_of(name));
    Bert bert(config.model, config.head, Recompute::none, false);
    EXPECT_TRUE(load_hf_bert(folder_of(name), bert).empty());
    const TemporaryDirectory folder;
    write_hf_bert(folder.path(), bert, config.labels);
    EXPECT_EQ(read_file(folder.path() / "model.safetensors"), read_file(folder_of(name) / "model.safetensors")) << name;
    const HfBertConfig again = read_hf_bert_config(folder.path());
    EXPECT_EQ(again.labels, config.labels);
    EXPECT_EQ(again.head.head, config.head.head);
    EXPECT_EQ(again.head.num_labels, config.head.num_labels);
    EXPECT_EQ(again.model.post_norm, config.model.post_norm);
    EXPECT_EQ(again.model.activation, config.model.activation);
    EXPECT_EQ(again.model.layernorm_epsilon, config.model.layernorm_epsilon);
  }
}

TEST(HfBert, TellsWhatIsMissing) {
  const HfBertConfig spans = read_hf_bert_config(folder_of("spans"));
  Bert other(spans.model, {.head = BertHead::sequence, .num_labels = 2}, Recompute::none, false);
  EXPECT_EQ(load_hf_bert(folder_of("spans"), other), (std::vector<std::string>{"pooler.weight", "pooler.bias", "classifier.weight", "classifier.bias"}));
  BertConfig wider = spans.model;
  wider.max_positions = 13;
  Bert wrong(wider, spans.head, Recompute::none, false);
  EXPECT_THROW(load_hf_bert(folder_of("spans"), wrong), Error);
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "config.json", R"({"model_type": "roberta"})");
  EXPECT_THROW(read_hf_bert_config(folder.path()), Error);
  write_file_atomic(folder.path() / "config.json", R"({"model_type": "bert", "position_embedding_type": "relative_key"})");
  EXPECT_THROW(read_hf_bert_config(folder.path()), Error);
}

}  // namespace
}  // namespace triax
