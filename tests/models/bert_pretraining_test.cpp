// A BERT as the engine trains it, with batches that are padded, against PyTorch: losses and all gradients.
#include <gtest/gtest.h>

#include <cmath>

#include "triax/checkpoint/safetensors.h"
#include "triax/models/hf_bert.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

std::vector<int32_t> load(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsEntry& entry = file.get(name);
  OwnedTensor tensor(entry.shape, entry.dtype);
  file.read(entry, tensor);
  const auto values = tensor.span<int32_t>();
  return {values.begin(), values.end()};
}

Tensor view(std::vector<int32_t>& values) { return {values.data(), {static_cast<int64_t>(values.size())}, DType::i32}; }
Tensor view(std::vector<float>& values) { return {values.data(), {static_cast<int64_t>(values.size())}, DType::f32}; }

// The stored batch, with `padding` tokens behind each sequence.
struct Batch {
  std::vector<int32_t> tokens, types, positions, targets, order, masked;
  std::vector<float> weights, order_weights;
  std::vector<Span> spans;

  Batch(const SafetensorsFile& file, int32_t padding) : order(load(file, "order")) {
    const std::vector<int32_t> all = load(file, "tokens"), kinds = load(file, "types"), masked_rows = load(file, "masked"),
                               labels = load(file, "labels");
    size_t from = 0;
    for (const int32_t length : load(file, "lengths")) {
      spans.push_back({static_cast<int64_t>(tokens.size()), length});
      for (int32_t i = 0; i < length + padding; ++i) {
        const bool real = i < length;
        const auto at = std::find(masked_rows.begin(), masked_rows.end(), static_cast<int32_t>(from));
        const bool guessed = real && at != masked_rows.end();
        if (guessed) masked.push_back(static_cast<int32_t>(tokens.size()));
        tokens.push_back(real ? all[from] : 1);
        types.push_back(real ? kinds[from] : 0);
        positions.push_back(i);
        targets.push_back(guessed ? labels[static_cast<size_t>(at - masked_rows.begin())] : 0);
        weights.push_back(guessed ? 1.0f / static_cast<float>(labels.size()) : 0.0f);
        from += real ? 1 : 0;
      }
    }
    order_weights.assign(order.size(), 1.0f / static_cast<float>(order.size()));
  }
  MicroBatch micro() {
    MicroBatch m{.tokens = view(tokens), .positions = view(positions), .targets = view(targets), .types = view(types),
                 .weights = view(weights), .order = view(order), .order_weights = view(order_weights), .layout = {}};
    m.layout.spans = spans;
    m.layout.max_length = 12;
    m.layout.training = false;
    return m;
  }
};

using Case = std::tuple<const char*, Recompute, int32_t>;
class BertPretrainingParity : public testing::TestWithParam<Case> {};

TEST_P(BertPretrainingParity, HasTheGradientsOfPyTorch) {
  const auto& [name, recompute, padding] = GetParam();
  const fs::path folder = fs::path(TRIAX_TEST_DATA) / "hf_bert" / name;
  const HfBertConfig hf = read_hf_bert_config(folder);
  Bert one(hf.model, hf.head), gradients(hf.model, hf.head);
  load_hf_bert(folder, one);
  load_hf_bert(folder / "gradients", gradients);

  const SafetensorsFile file(folder / "expected.safetensors");
  Batch batch(file, padding);
  const auto n = static_cast<int64_t>(batch.tokens.size());
  StageShape shape{.config = hf.model, .part = {.num_layers = hf.model.num_layers}, .parallel = {},
                   .recompute = recompute, .compute_type = DType::f32, .sequences = static_cast<int64_t>(batch.spans.size())};
  shape.config.vocab_multiple = 16;
  const auto model = make_stage_model(shape, true);
  const ParameterTable& table = model->parameters().table();
  ASSERT_EQ(table.specs().size(), one.parameters().table().specs().size());
  const auto same = [&](const ParameterSpec& spec) {
    for (int i = 0; i < static_cast<int>(one.parameters().table().specs().size()); ++i)
      if (one.parameters().table()[i].name == spec.name) return i;
    ADD_FAILURE() << spec.name << " is not of a BERT";
    return 0;
  };
  for (int i = 0; i < static_cast<int>(table.specs().size()); ++i)  // padding of the vocabulary is behind
    std::ranges::copy(one.parameters().master(same(table[i])).span<float>(), model->parameters().master(i).data<float>());

  Arena measure;
  StageModel::allocate_stash(shape, n, measure);
  StageModel::allocate_workspace(shape, n, true, measure);
  Arena arena("test", measure.peak());
  StageStash stash = model->allocate_stash(n, arena);
  StageWorkspace workspace = model->allocate_workspace(n, true, arena);
  const MicroBatch micro = batch.micro();
  const StageLoss loss = model->forward({}, micro, {}, {}, 1.0f, true, stash, workspace);
  model->backward({}, micro, stash.gradient, stash, workspace);

  const SafetensorsEntry& entry = file.get("loss");
  OwnedTensor expected(entry.shape, entry.dtype);
  file.read(entry, expected);
  EXPECT_NEAR(loss.total(), expected.span<float>()[0], 2e-5);
  EXPECT_GT(loss.order, 0.1);
  for (int i = 0; i < static_cast<int>(table.specs().size()); ++i) {
    const Tensor mine = model->parameters().gradient(i);
    const auto theirs = gradients.parameters().master(same(table[i])).span<float>();
    double largest = 0;
    for (int64_t j = 0; j < mine.numel(); ++j) {
      const float wanted = j < static_cast<int64_t>(theirs.size()) ? theirs[static_cast<size_t>(j)] : 0.0f;
      largest = std::max(largest, std::fabs(static_cast<double>(mine.data<float>()[j]) - wanted));
    }
    EXPECT_LT(largest, 1e-4) << table[i].name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, BertPretrainingParity,
                         testing::Combine(testing::Values("pretraining", "megatron"),
                                          testing::Values(Recompute::none, Recompute::selective, Recompute::full),
                                          testing::Values(0, 3)));

// As Hugging Face counts BertForPreTraining.
TEST(BertPretraining, HoldsAsManyParametersAsTheConfigCounts) {
  const ModelConfig base{.kind = ModelKind::bert, .vocab_size = 30522, .hidden_size = 768, .num_layers = 12, .num_heads = 12,
                         .max_positions = 512, .post_norm = true};
  EXPECT_EQ(base.num_parameters(), 110106428);
  for (const bool post_norm : {false, true}) {
    const ModelConfig config{.kind = ModelKind::bert, .vocab_size = 100, .hidden_size = 24, .num_layers = 2, .num_heads = 3,
                             .max_positions = 10, .vocab_multiple = 1, .post_norm = post_norm};
    EXPECT_EQ(declare_stage(config, {.num_layers = 2}, 0, 1).table.num_parameters(), config.num_parameters());
  }
}

}  // namespace
}  // namespace triax
