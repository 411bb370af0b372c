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
    for (const char* name : {"labels", "starts", "ends", "masked", "order", "weights", "values"})
      if (file.find(name)) whole[name] = load_tensor(file, name);
    targets = {.labels = get<int32_t>("labels"), .weights = get<float>("weights"), .values = get<float>("values"), .starts = get<int32_t>("starts"),
               .ends = get<int32_t>("ends"), .choices = 2};
    row_targets.resize(static_cast<size_t>(start)), row_weights.resize(static_cast<size_t>(start));
    const auto masked = get<int32_t>("masked");
    for (size_t i = 0; i < masked.size(); ++i) {
      const auto row = static_cast<size_t>(masked[i]);
      row_targets[row] = targets.labels[i], row_weights[row] = targets.weights[i];
    }
    order_weights.assign(spans.size(), 1.0f / static_cast<float>(spans.size()));
  }
  // With what is to be learned; or a task's without, to be predicted.
  MicroBatch micro(const BertHeadConfig& head, bool with_targets) {
    MicroBatch m{.tokens = tokens, .positions = positions, .targets = {}, .types = types, .weights = {}, .order = {}, .order_weights = {}, .layout = {}};
    if (head.is_task()) {
      m.task = with_targets ? &targets : nullptr;
    } else {
      m.targets = Tensor(row_targets.data(), tokens.view().shape(), DType::i32), m.weights = Tensor(row_weights.data(), tokens.view().shape(), DType::f32);
      m.order = whole.at("order"), m.order_weights = Tensor(order_weights.data(), m.order.shape(), DType::f32);
    }
    m.layout.spans = spans;
    m.layout.max_length = 9;
    m.layout.training = false;
    return m;
  }
  template <typename T>
  std::span<const T> get(const char* name) const {
    const auto found = whole.find(name);
    return found == whole.end() ? std::span<const T>{} : std::span<const T>(found->second.template span<T>());
  }
  OwnedTensor tokens, types, positions, lengths;
  std::vector<Span> spans;
  std::map<std::string, OwnedTensor> whole;
  BertTargets targets;
  std::vector<int32_t> row_targets;  // of pretraining: of every token
  std::vector<float> row_weights, order_weights;
};

// A whole model on one rank, and memory for the stored batch.
class WholeBert {
 public:
  WholeBert(const HfBertConfig& config, const fs::path& folder, Recompute recompute, DType type)
      : shape_{.config = config.model, .part = {.num_layers = config.model.num_layers}, .parallel = {}, .recompute = recompute, .compute_type = type,
               .sequences = 4, .head = config.head} {
    shape_.config.vocab_multiple = 1;
    bert_ = std::make_unique<Bert>(shape_, true);
    EXPECT_TRUE(load_hf_bert(folder, *bert_).empty());
    Arena measure;
    allocate(measure, true);
    arena_ = std::make_unique<Arena>("test", measure.peak());
  }
  Parameters& parameters() { return bert_->parameters(); }

  // The loss; the head's logits and their gradients stay in workspace().
  double forward(const MicroBatch& batch) {
    allocate(*arena_, false);
    return bert_->forward({}, batch, {}, {}, 1.0f, false, stash_, workspace_).total();
  }
  double train(const MicroBatch& batch) {
    allocate(*arena_, true);
    const StageLoss loss = bert_->forward({}, batch, {}, {}, 1.0f, true, stash_, workspace_);
    bert_->backward({}, batch, stash_.gradient, stash_, workspace_);
    return loss.total();
  }
  const StageWorkspace& workspace() const { return workspace_; }

 private:
  void allocate(Arena& arena, bool with_backward) {
    arena.release(0);
    stash_ = StageModel::allocate_stash(shape_, 22, arena, with_backward);
    workspace_ = StageModel::allocate_workspace(shape_, 22, with_backward, arena);
  }
  StageShape shape_;
  std::unique_ptr<Bert> bert_;
  std::unique_ptr<Arena> arena_;
  StageStash stash_;
  StageWorkspace workspace_;
};

class BertParity : public testing::TestWithParam<std::tuple<const char*, Recompute>> {
 protected:
  BertParity() : folder_(folder_of(std::get<0>(GetParam()))), config_(read_hf_bert_config(folder_)), file_(folder_ / "expected.safetensors"), batch_(file_) {}
  WholeBert model(const fs::path& folder, DType type = DType::f32) { return {config_, folder, std::get<1>(GetParam()), type}; }
  MicroBatch batch(bool with_targets = true) { return batch_.micro(config_.head, with_targets); }
  float expected_loss() const { return load_tensor(file_, "loss").span<float>()[0]; }

  fs::path folder_;
  HfBertConfig config_;
  SafetensorsFile file_;
  TaskBatch batch_;
};

TEST_P(BertParity, LogitsAndLossEqualPyTorch) {
  WholeBert bert = model(folder_);
  const OwnedTensor expected = load_tensor(file_, "logits");
  EXPECT_NEAR(bert.forward(batch()), expected_loss(), 2e-5);
  if (config_.head.is_task()) {
    bert.forward(batch(false));
    const Tensor logits = bert.workspace().task.logits;
    EXPECT_EQ(logits.shape(), expected.view().shape());
    EXPECT_LT(largest_difference(logits.span<float>(), expected.span<float>()), 5e-5);
  } else {  // of the masked tokens, which are the first rows there
    const Tensor logits = bert.workspace().head.logits.narrow(0, 0, expected.view().dim(0));
    EXPECT_EQ(logits.shape(), expected.view().shape());
    EXPECT_LT(largest_difference(logits.span<float>(), expected.span<float>()), 5e-5);
    EXPECT_LT(largest_difference(bert.workspace().bert.order.logits.span<float>(), load_tensor(file_, "order_logits").span<float>()), 5e-5);
  }
}

TEST_P(BertParity, GradientsEqualPyTorch) {
  WholeBert bert = model(folder_), expected = model(folder_ / "gradients");
  for (int round = 1; round <= 2; ++round) {  // they are added to
    EXPECT_NEAR(bert.train(batch()), expected_loss(), 2e-5);
    for (int i = 0; i < static_cast<int>(bert.parameters().table().specs().size()); ++i) {
      const auto mine = bert.parameters().gradient(i).span<float>();
      std::vector<float> theirs(mine.size());
      for (size_t j = 0; j < mine.size(); ++j) theirs[j] = static_cast<float>(round) * expected.parameters().master(i).data<float>()[j];
      EXPECT_LT(largest_difference(mine, theirs), 1e-4) << bert.parameters().table()[i].name;
    }
  }
}

// Half the bits: near, and the loss falls along the gradient.
class BertInBf16 : public BertParity {};

TEST_P(BertInBf16, IsNearPyTorch) {
  WholeBert half = model(folder_, DType::bf16);
  if (config_.head.is_task()) {
    half.forward(batch(false));
    const Tensor logits = half.workspace().task.logits;
    EXPECT_EQ(logits.dtype(), DType::f32);
    EXPECT_LT(largest_difference(logits.span<float>(), load_tensor(file_, "logits").span<float>()), 0.05);
  }
  const double loss = expected_loss();
  EXPECT_NEAR(half.train(batch()), loss, 0.02 * std::max(1.0, loss));
  WholeBert gradients = model(folder_ / "gradients");
  double product = 0, mine = 0, theirs = 0;
  for (int i = 0; i < static_cast<int>(half.parameters().table().specs().size()); ++i) {
    const auto a = half.parameters().gradient(i).span<float>(), b = gradients.parameters().master(i).span<float>();
    for (size_t j = 0; j < a.size(); ++j) product += static_cast<double>(a[j]) * b[j], mine += static_cast<double>(a[j]) * a[j], theirs += static_cast<double>(b[j]) * b[j];
  }
  EXPECT_GT(product / std::sqrt(mine * theirs), 0.99);
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
INSTANTIATE_TEST_SUITE_P(Heads, BertInBf16,
                         testing::Combine(testing::Values("tokens", "sequence", "regression", "choice", "spans", "pretraining", "megatron"),
                                          testing::Values(Recompute::none)),
                         name_of_case);

TEST(HfBert, WritesWhatItReads) {
  for (const char* name : {"tokens", "sequence", "regression", "choice", "spans", "pretraining", "megatron"}) {
    const HfBertConfig config = read_hf_bert_config(folder_of(name));
    Bert bert(config.model, config.head);
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
  Bert other(spans.model, {.head = BertHead::sequence, .num_labels = 2});
  EXPECT_EQ(load_hf_bert(folder_of("spans"), other), (std::vector<std::string>{"pooler.weight", "pooler.bias", "classifier.weight", "classifier.bias"}));
  ModelConfig wider = spans.model;
  wider.max_positions = 13;
  Bert wrong(wider, spans.head);
  EXPECT_THROW(load_hf_bert(folder_of("spans"), wrong), Error);
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() / "config.json", R"({"model_type": "roberta"})");
  EXPECT_THROW(read_hf_bert_config(folder.path()), Error);
  write_file_atomic(folder.path() / "config.json", R"({"model_type": "bert", "position_embedding_type": "relative_key"})");
  EXPECT_THROW(read_hf_bert_config(folder.path()), Error);
}

}  // namespace
}  // namespace triax
