// Training in FP8 on an emulated device beside bf16, and beside fp32 on the CPU: the same model, text and seed.
//
// TRIAX_FLOAT8_STEPS=200 [TRIAX_FLOAT8_SEED=2] build/test_train --gtest_filter='Float8.L*'   is the comparison of docs/gpu.md
#include <gtest/gtest.h>

#include <fmt/core.h>

#include <cstdlib>
#include <numeric>

#include "kernels/cuda_on_host/queue.h"
#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/rng.h"
#include "triax/train/engine.h"

namespace triax {
namespace {

EngineConfig small_gpt(Precision precision, int64_t sequences = 8) {
  EngineConfig config;
  config.model = {.vocab_size = 256, .hidden_size = 128, .num_layers = 2, .num_heads = 4, .max_positions = 64,
                  .hidden_dropout = 0, .attention_dropout = 0};
  config.sequence_length = 64, config.micro_batch_size = sequences;
  config.precision = precision;
  config.device.kind = precision == Precision::fp32 ? Device::Kind::cpu : Device::Kind::emulated;
  return config;
}

struct Text {
  std::string train, held_out;
};

// Every tenth piece is held out: the text is of many kinds, and all of them are in both parts.
Text split_text() {
  const std::string all = read_file(TRIAX_SOURCE_DIR "/tests/text/data/corpus.jsonl");
  constexpr size_t kPiece = 512;
  Text text;
  for (size_t at = 0; at < all.size(); at += kPiece) (at / kPiece % 10 == 9 ? text.held_out : text.train) += all.substr(at, kPiece);
  return text;
}

// Stretches of a text, whose tokens are its bytes.
TokenBatch stretches(const EngineConfig& config, std::string_view text, uint64_t number) {
  Philox random(number);
  TokenBatch batch;
  for (int64_t b = 0; b < config.micro_batch_size; ++b) {
    const size_t begin = random.next_below(text.size() - static_cast<size_t>(config.sequence_length) - 1);
    for (int64_t i = 0; i < config.sequence_length; ++i) {
      batch.tokens.push_back(static_cast<unsigned char>(text[begin + static_cast<size_t>(i)]));
      batch.targets.push_back(static_cast<unsigned char>(text[begin + static_cast<size_t>(i) + 1]));
      batch.positions.push_back(static_cast<int32_t>(i));
      batch.loss_mask.push_back(1);
    }
    batch.spans.push_back({b * config.sequence_length, config.sequence_length});
  }
  return batch;
}

struct Curve {
  std::vector<double> losses;
  double held_out = 0;
};

Curve train(Precision precision, int64_t steps, int64_t sequences, uint64_t seed) {
  const Text text = split_text();
  EngineConfig config = small_gpt(precision, sequences);
  config.seed += seed - 1;
  Engine engine(config, nullptr, precision == Precision::fp32 ? nullptr : cuda_on_host::make_queue());
  engine.initialize();
  Curve curve;
  for (int64_t step = 1; step <= steps; ++step) {
    const TokenBatch batch = stretches(config, text.train, static_cast<uint64_t>(step) + 100000 * (seed - 1));
    const double rate = 2e-3 * std::min(1.0, static_cast<double>(step) / 20);
    curve.losses.push_back(engine.train_step(step, rate, {&batch, 1}).loss);
  }
  for (uint64_t i = 0; sequences == 8 && i < 8; ++i) {
    const TokenBatch batch = stretches(config, text.held_out, 1000 + i);
    curve.held_out += engine.evaluate({&batch, 1}).loss / 8;
  }
  return curve;
}

double mean_of_last(const std::vector<double>& losses, size_t count) {
  count = std::min(count, losses.size());
  return std::accumulate(losses.end() - static_cast<std::ptrdiff_t>(count), losses.end(), 0.0) / static_cast<double>(count);
}

TEST(Float8, LearnsLikeBf16) {
  const char* asked = std::getenv("TRIAX_FLOAT8_STEPS");
  const int64_t steps = asked ? std::atoll(asked) : 3, sequences = asked ? 8 : 1;
  const char* other = std::getenv("TRIAX_FLOAT8_SEED");
  const uint64_t seed = other ? std::strtoull(other, nullptr, 10) : 1;
  const Curve whole = train(Precision::fp32, steps, sequences, seed), half = train(Precision::bf16, steps, sequences, seed),
              eighth = train(Precision::fp8, steps, sequences, seed);
  EXPECT_NE(eighth.losses, half.losses);
  EXPECT_NEAR(mean_of_last(half.losses, 20), mean_of_last(whole.losses, 20), 0.005 * mean_of_last(whole.losses, 20));
  EXPECT_NEAR(mean_of_last(eighth.losses, 20), mean_of_last(whole.losses, 20), 0.02 * mean_of_last(whole.losses, 20));
  if (!asked) return;
  fmt::print("step        fp32     bf16      fp8\n");
  for (size_t i = 0; i < whole.losses.size(); ++i)
    if (i == 0 || (i + 1) % 20 == 0) fmt::print("{:>8}  {:.4f}   {:.4f}   {:.4f}\n", i + 1, whole.losses[i], half.losses[i], eighth.losses[i]);
  fmt::print("last 20   {:.4f}   {:.4f}   {:.4f}\n", mean_of_last(whole.losses, 20), mean_of_last(half.losses, 20), mean_of_last(eighth.losses, 20));
  fmt::print("held out  {:.4f}   {:.4f}   {:.4f}\n", whole.held_out, half.held_out, eighth.held_out);
}

TEST(Float8, TakesTheMemoryOfItsPlan) {
  const Engine engine(small_gpt(Precision::fp8), nullptr, cuda_on_host::make_queue());
  size_t planned = 0;
  for (const MemoryUse& use : engine.memory())
    if (use.purpose == "operands in FP8") planned = use.bytes;
  EXPECT_EQ(planned, engine.context().queue->float8.bytes);
  // 512 tokens times the widths of the MLP, 128 and 512, and the two factors.
  EXPECT_EQ(planned, 512 * (128 + 512) + 512u);
}

TEST(Float8, IsRefusedWhereNothingMultipliesIt) {
  const auto refusal = [](const EngineConfig& config, std::unique_ptr<DeviceQueue> queue) -> std::string {
    try {
      const Engine engine(config, nullptr, std::move(queue));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EngineConfig config = small_gpt(Precision::fp8);
  auto queue = cuda_on_host::make_queue();
  queue->has_float8 = false;
  EXPECT_EQ(refusal(config, std::move(queue)),
            "train.precision = \"fp8\" needs a GPU of compute capability 8.9 or newer (Ada, Hopper), which this one is not; use \"bf16\"");
  config.device.kind = Device::Kind::cpu;
  EXPECT_EQ(refusal(config, nullptr), "train.precision = \"fp8\" is a way of GPUs to multiply and needs train.device = \"cuda\"; a CPU has \"bf16\"");
}

}  // namespace
}  // namespace triax
