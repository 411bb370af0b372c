#include "triax/finetune/speed.h"

#include <gtest/gtest.h>

namespace triax::finetune {
namespace {

TEST(TuningSpeed, CountsTextAndPadding) {
  EngineConfig engine;
  engine.model = {.kind = ModelKind::bert, .vocab_size = 30, .hidden_size = 16, .num_layers = 1, .num_heads = 2, .ffn_hidden_size = 32, .max_positions = 20, .post_norm = true};
  engine.head = {.head = BertHead::sequence, .num_labels = 2};
  std::vector<Example> examples = random_examples(4, 4, 30);
  for (Example& longer : random_examples(4, 12, 30)) examples.push_back(std::move(longer));
  const TuningSpeed speed = measure_tuning_speed(engine, examples, {.batch_size = 8, .window = 16, .micro_batch_tokens = 64, .seconds = 0.01});
  ASSERT_GE(speed.steps, 1);
  const auto steps = static_cast<double>(speed.steps);
  for (const auto& ways : {speed.training, speed.prediction}) {
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(ways[i].tokens, steps * 64);
      EXPECT_GT(ways[i].tokens_per_second(), 0);
    }
    EXPECT_EQ(ways[0].computed, steps * 64);
    EXPECT_EQ(ways[1].computed, steps * 8 * 12);
    EXPECT_EQ(ways[2].computed, steps * 8 * 16);
  }
  EXPECT_GT(speed.model_flops_per_second, 0);
}

}  // namespace
}  // namespace triax::finetune
