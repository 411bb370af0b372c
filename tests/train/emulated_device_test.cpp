// Training with the GPU's operations on a GPU's memory layout, as far as the host can show it: the engine of an emulated
// device (kernels/cuda_on_host/) beside that of the CPU.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cuda_on_host/queue.h"
#include "train/tiny_run.h"
#include "triax/base/error.h"
#include "triax/base/rng.h"
#include "triax/tensor/device.h"
#include "triax/train/trainer.h"

namespace triax {
namespace {

EngineConfig tiny(ModelKind kind, Precision precision, Recompute recompute) {
  EngineConfig config;
  ModelConfig& m = config.model;
  m.kind = kind;
  if (kind == ModelKind::bert) m.activation = Activation::gelu_erf, m.post_norm = true;
  m.vocab_size = 61, m.hidden_size = 32, m.num_layers = 2, m.num_heads = 2, m.max_positions = 24;
  m.hidden_dropout = m.attention_dropout = 0.1;
  config.sequence_length = 24, config.micro_batch_size = 2, config.max_micro_batches = 2;
  config.precision = precision, config.recompute = recompute;
  return config;
}

TokenBatch batch_of(const EngineConfig& config, uint64_t seed) {
  Philox random(seed);
  TokenBatch batch;
  for (int64_t i = 0; i < config.micro_batch_tokens(); ++i) {
    batch.tokens.push_back(static_cast<int32_t>(random.next_below(61)));
    batch.targets.push_back(static_cast<int32_t>(random.next_below(61)));
    batch.positions.push_back(static_cast<int32_t>(i % config.sequence_length));
    batch.loss_mask.push_back(i % 7 == 0 ? 0.0f : 1.0f);
  }
  // The second sequence ends early.
  batch.spans = {{0, config.sequence_length}, {config.sequence_length, 17}};
  batch.first_sample = static_cast<int64_t>(seed) * config.micro_batch_size;
  if (!config.model.is_bert()) return batch;
  for (int64_t i = 0; i < config.micro_batch_tokens(); ++i) {
    batch.types.push_back(i % config.sequence_length > 9);
    batch.loss_mask[static_cast<size_t>(i)] = i % 7 == 3 && i < 40;
  }
  batch.order = {1, 0};
  batch.order_mask = {1, 1};
  return batch;
}

void compare(ModelKind kind, Precision precision, Recompute recompute, double tolerance) {
  EngineConfig config = tiny(kind, precision == Precision::fp8 ? Precision::bf16 : precision, recompute);
  const std::vector<TokenBatch> batches = {batch_of(config, 0), batch_of(config, 1)};
  Engine expected(config);
  config.precision = precision;
  config.device.kind = Device::Kind::emulated;
  Engine engine(config, nullptr, cuda_on_host::make_queue());
  expected.initialize(), engine.initialize();
  EXPECT_NEAR(engine.evaluate(batches).loss, expected.evaluate(batches).loss, tolerance * 4);
  for (int64_t step = 1; step <= 3; ++step) {
    const StepResult want = expected.train_step(step, 1e-3, batches), got = engine.train_step(step, 1e-3, batches);
    EXPECT_NEAR(got.loss, want.loss, tolerance * want.loss) << step;
    EXPECT_NEAR(got.gradient_norm, want.gradient_norm, 4 * tolerance * want.gradient_norm) << step;
    EXPECT_EQ(got.tokens, want.tokens);
  }
  EXPECT_EQ(engine.memory().size(), expected.memory().size() + (precision == Precision::fp8 ? 1 : 0));
}

TEST(EmulatedDevice, TrainsLikeTheCpu) {
  compare(ModelKind::gpt, Precision::fp32, Recompute::none, 2e-6);
  compare(ModelKind::gpt, Precision::bf16, Recompute::full, 4e-3);
  compare(ModelKind::gpt, Precision::fp8, Recompute::selective, 6e-3);
  // To the emulated device tf32 is fp32.
  EngineConfig config = tiny(ModelKind::gpt, Precision::tf32, Recompute::none);
  config.device.kind = Device::Kind::emulated;
  const std::vector<TokenBatch> batches = {batch_of(config, 0)};
  Engine rounded(config, nullptr, cuda_on_host::make_queue());
  config.precision = Precision::fp32;
  Engine whole(config, nullptr, cuda_on_host::make_queue());
  rounded.initialize(), whole.initialize();
  EXPECT_TRUE(rounded.context().queue->tf32);
  EXPECT_EQ(rounded.evaluate(batches).loss, whole.evaluate(batches).loss);
}

TEST(EmulatedDevice, PretrainsABertLikeTheCpu) {
  compare(ModelKind::bert, Precision::fp32, Recompute::none, 2e-6);
  compare(ModelKind::bert, Precision::bf16, Recompute::selective, 4e-3);
  compare(ModelKind::bert, Precision::fp8, Recompute::full, 6e-3);
}

// The library's attention, which here is the CPU's behind the library's interface, beside ours: full sequences are the
// library's, others ours, in one step.
TEST(EmulatedDevice, TrainsWithTheLibrarysAttention) {
  for (const AttentionBackend backend : {AttentionBackend::cudnn, AttentionBackend::cudnn_fast})
    for (const Recompute recompute : {Recompute::none, Recompute::full}) {
      EngineConfig config = tiny(ModelKind::gpt, Precision::bf16, recompute);
      config.model.attention_dropout = 0;
      config.device.kind = Device::Kind::emulated;
      std::vector<TokenBatch> batches = {batch_of(config, 0), batch_of(config, 1)};
      batches[0].spans = equal_spans(2, config.sequence_length);
      Engine ours(config, nullptr, cuda_on_host::make_queue());
      config.attention = backend;
      Engine engine(config, nullptr, cuda_on_host::make_queue());
      ours.initialize(), engine.initialize();
      for (int64_t step = 1; step <= 2; ++step) {
        const StepResult want = ours.train_step(step, 1e-3, batches), got = engine.train_step(step, 1e-3, batches);
        EXPECT_NEAR(got.loss, want.loss, 1e-3 * want.loss) << step;
        EXPECT_NEAR(got.gradient_norm, want.gradient_norm, 1e-2 * want.gradient_norm) << step;
      }
    }
}

TEST(EmulatedDevice, RefusesTheLibrarysAttentionWithWhatItNeeds) {
  EngineConfig config = tiny(ModelKind::gpt, Precision::bf16, Recompute::none);
  config.attention = AttentionBackend::cudnn;
  const auto refusal = [&] {
    try {
      validate(config);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const auto needs = [](const std::string& what) { return "train.attention = \"cudnn\" needs " + what + "; \"own\", triax's kernels, does not"; };
  EXPECT_EQ(refusal(), needs("train.device = \"cuda\""));
  config.device.kind = Device::Kind::emulated;
  EXPECT_EQ(refusal(), needs("model.attention_dropout = 0"));
  config.model.attention_dropout = 0;
  EXPECT_EQ(refusal(), "");
  config.precision = Precision::fp32;
  EXPECT_EQ(refusal(), needs("train.precision = \"bf16\", \"fp16\" or \"fp8\""));
  config.precision = Precision::fp16;
  config.model.num_heads = 8;
  EXPECT_EQ(refusal(), needs("heads of up to 128 elements, a multiple of 8 (model.hidden_size / model.num_heads)"));
}

// What train.device = "cuda" says where it cannot be had.
std::string refusal(const RunConfig& config) {
  try {
    Trainer trainer(config);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(CudaDevice, IsRefusedWithAReason) {
  const TemporaryDirectory folder("cuda-device-test");
  test::write_tiny_dataset(folder.path() / "tokens");
  RunConfig config = test::tiny_run(folder.path() / "tokens", folder.path() / "run");
  config.parallel.nccl = true;
  EXPECT_EQ(refusal(config), "parallel.nccl = true needs train.device = \"cuda\"");
  config.parallel.nccl = false;
  config.train.precision = Precision::tf32;
  EXPECT_EQ(refusal(config), "train.precision = \"tf32\" is a way of GPUs to multiply and needs train.device = \"cuda\"; a CPU has \"fp32\"");
  config.train.precision = Precision::fp32;
  config.train.device = Device::Kind::cuda;
  if (find_gpus().gpus.empty()) {
    EXPECT_TRUE(refusal(config).starts_with("train.device = \"cuda\": no GPU can be used here: ")) << refusal(config);
  }
}

}  // namespace
}  // namespace triax
