// The whole GPT against PyTorch (fixture): loss, every gradient, ten optimizer steps; in every way of
// computing it.
#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "models/gpt_fixture.h"
#include "triax/base/error.h"

namespace triax {
namespace {

using test::gpt_fixture_batch;
using test::gpt_fixture_config;

class GptParity : public testing::TestWithParam<Recompute> {};

TEST_P(GptParity, GradientsEqualPyTorch) {
  const SafetensorsFile file = test::open_gpt_fixture();
  EngineConfig config = gpt_fixture_config();
  config.recompute = GetParam();
  Engine engine(config);
  test::load_fixture_weights(file, engine);
  const TokenBatch batch = gpt_fixture_batch(file);
  // A learning rate of zero leaves the gradients to look at and the weights as they were.
  const StepResult result = engine.train_step(1, 0.0, {&batch, 1});
  EXPECT_NEAR(result.loss, test::load(file, "losses").span<float>()[0], 2e-6 * result.loss);
  const Parameters& parameters = engine.model().parameters();
  for (int i = 0; i < static_cast<int>(parameters.table().specs().size()); ++i) {
    const ParameterSpec& spec = parameters.table()[i];
    const OwnedTensor expected = test::load(file, "grad." + spec.name);
    EXPECT_LT(test::relative_error(parameters.gradient(i).span<float>(), expected.span<float>()), 2e-5)
        << spec.name;
  }
}

TEST_P(GptParity, TenStepsOfAdamWEqualPyTorch) {
  const SafetensorsFile file = test::open_gpt_fixture();
  EngineConfig config = gpt_fixture_config();
  config.recompute = GetParam();
  Engine engine(config);
  test::load_fixture_weights(file, engine);
  const TokenBatch batch = gpt_fixture_batch(file);
  const OwnedTensor losses = test::load(file, "losses"), norms = test::load(file, "norms");
  for (size_t i = 0; i < losses.span<float>().size(); ++i) {
    const StepResult result = engine.train_step(static_cast<int64_t>(i) + 1, 1e-2, {&batch, 1});
    EXPECT_NEAR(result.loss, losses.span<float>()[i], 2e-5 * result.loss) << "step " << i + 1;
    EXPECT_NEAR(result.gradient_norm, norms.span<float>()[i], 1e-4 * result.gradient_norm);
  }
}

TEST_P(GptParity, MicroBatchesAddUpToTheBatch) {
  const SafetensorsFile file = test::open_gpt_fixture();
  EngineConfig config = gpt_fixture_config();
  config.recompute = GetParam();
  config.micro_batch_size = 1;
  config.max_micro_batches = 3;
  Engine engine(config);
  test::load_fixture_weights(file, engine);
  std::vector<TokenBatch> batches;
  for (int64_t i = 0; i < 3; ++i) batches.push_back(gpt_fixture_batch(file, i, 1));
  const OwnedTensor losses = test::load(file, "losses");
  for (size_t i = 0; i < 3; ++i)
    EXPECT_NEAR(engine.train_step(static_cast<int64_t>(i) + 1, 1e-2, batches).loss,
                losses.span<float>()[i], 2e-5 * losses.span<float>()[i]);
}

INSTANTIATE_TEST_SUITE_P(Recompute, GptParity,
                         testing::Values(Recompute::none, Recompute::selective, Recompute::full),
                         [](const auto& tested) {
                           return std::string(std::array{"none", "selective", "full"}[static_cast<size_t>(tested.param)]);
                         });

void expect_losses_near_fp32(Precision precision, double tolerance) {
  const SafetensorsFile file = test::open_gpt_fixture();
  EngineConfig config = gpt_fixture_config();
  config.precision = precision;
  config.loss_scaling.initial = 1024;
  Engine engine(config);
  test::load_fixture_weights(file, engine);
  const TokenBatch batch = gpt_fixture_batch(file);
  const OwnedTensor losses = test::load(file, "losses");
  for (size_t i = 0; i < 10; ++i) {
    const StepResult result = engine.train_step(static_cast<int64_t>(i) + 1, 1e-2, {&batch, 1});
    EXPECT_NEAR(result.loss, losses.span<float>()[i], tolerance * losses.span<float>()[i]);
    EXPECT_EQ(result.loss_scale, precision == Precision::fp16 ? 1024 : 0);
  }
}

TEST(GptPrecision, Bf16StaysNearFp32) { expect_losses_near_fp32(Precision::bf16, 0.03); }
TEST(GptPrecision, Fp16StaysNearFp32) { expect_losses_near_fp32(Precision::fp16, 0.004); }

std::vector<double> losses_with_dropout(Recompute recompute, int64_t micro_batch) {
  const SafetensorsFile file = test::open_gpt_fixture();
  EngineConfig config = gpt_fixture_config();
  config.model.hidden_dropout = config.model.attention_dropout = 0.2;
  config.recompute = recompute;
  config.micro_batch_size = micro_batch;
  config.max_micro_batches = 3 / micro_batch;
  Engine engine(config);
  engine.initialize();
  std::vector<TokenBatch> batches;
  for (int64_t i = 0; i < 3; i += micro_batch) batches.push_back(gpt_fixture_batch(file, i, micro_batch));
  std::vector<double> losses;
  for (int64_t step = 1; step <= 4; ++step) losses.push_back(engine.train_step(step, 1e-3, batches).loss);
  return losses;
}

TEST(GptDropout, TheSameSeedGivesTheSameBits) {
  EXPECT_EQ(losses_with_dropout(Recompute::none, 3), losses_with_dropout(Recompute::none, 3));
}

TEST(GptDropout, RecomputationDrawsTheSameMasks) {
  const auto kept = losses_with_dropout(Recompute::none, 3);
  EXPECT_EQ(kept, losses_with_dropout(Recompute::selective, 3));
  EXPECT_EQ(kept, losses_with_dropout(Recompute::full, 3));
}

TEST(GptDropout, MasksDoNotDependOnTheMicroBatch) {
  const auto together = losses_with_dropout(Recompute::none, 3);
  const auto apart = losses_with_dropout(Recompute::none, 1);
  for (size_t i = 0; i < together.size(); ++i) EXPECT_NEAR(together[i], apart[i], 1e-5 * together[i]);
}

TEST(GptNotFinite, NamesTheStepAndTheLayer) {
  const SafetensorsFile file = test::open_gpt_fixture();
  Engine engine(gpt_fixture_config());
  test::load_fixture_weights(file, engine);
  Parameters& parameters = engine.model().parameters();
  for (int i = 0; i < static_cast<int>(parameters.table().specs().size()); ++i)
    if (parameters.table()[i].name == "layers.1.mlp_up.weight")
      parameters.master(i).data<float>()[5] = std::numeric_limits<float>::infinity();
  const TokenBatch batch = gpt_fixture_batch(file);
  try {
    engine.train_step(17, 1e-3, {&batch, 1});
    FAIL() << "an infinite weight went unnoticed";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("step 17"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("layer 1"), std::string::npos) << error.what();
  }
}

// Numbers that no scale makes small enough: the scale falls to its minimum, and then the run fails.
TEST(GptNotFinite, InFp16FailsAtTheSmallestScale) {
  const SafetensorsFile file = test::open_gpt_fixture();
  EngineConfig config = gpt_fixture_config();
  config.precision = Precision::fp16;
  config.loss_scaling = {.initial = 4, .hysteresis = 1};
  Engine engine(config);
  test::load_fixture_weights(file, engine);
  const Parameters& parameters = engine.model().parameters();
  parameters.copy(parameters.owned()[0]).data<f16>()[0] = f16(1e6f);
  const TokenBatch batch = gpt_fixture_batch(file);
  EXPECT_TRUE(engine.train_step(1, 1e-3, {&batch, 1}).skipped);
  EXPECT_TRUE(engine.train_step(2, 1e-3, {&batch, 1}).skipped);
  EXPECT_EQ(engine.steps_done(), 0);
  EXPECT_THROW(engine.train_step(3, 1e-3, {&batch, 1}), Error);
}

}  // namespace
}  // namespace triax
