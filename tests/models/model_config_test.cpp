#include "triax/models/model_config.h"

#include <gtest/gtest.h>

#include <vector>

#include "triax/base/error.h"
#include "triax/models/gpt.h"

namespace triax {
namespace {

struct Row {
  double billions;
  int64_t heads, hidden, layers;
};

// Table 1 of Narayanan et al. 2021; V = 51,200, s = 2048.
const std::vector<Row> kTable1 = {{1.7, 24, 2304, 24},    {3.6, 32, 3072, 30},     {7.5, 32, 4096, 36},
                                  {18.4, 48, 6144, 40},   {39.1, 64, 8192, 48},    {76.1, 80, 10240, 60},
                                  {145.6, 96, 12288, 80}, {310.1, 128, 16384, 96}, {529.6, 128, 20480, 105},
                                  {1008.0, 160, 25600, 128}};

TEST(ModelConfig, CountsTheParametersOfTable1) {
  for (const Row& row : kTable1) {
    const ModelConfig config{.vocab_size = 51200, .hidden_size = row.hidden, .num_layers = row.layers,
                           .num_heads = row.heads, .max_positions = 2048};
    EXPECT_NEAR(static_cast<double>(config.num_parameters()) * 1e-9, row.billions, 0.06) << row.hidden;
    // Eq. 2, which leaves out the final norm's 2 h.
    const auto h = static_cast<double>(row.hidden), l = static_cast<double>(row.layers);
    const double eq2 = 12 * l * h * h * (1 + 13 / (12 * h) + (51200 + 2048) / (12 * l * h));
    EXPECT_NEAR(static_cast<double>(config.num_parameters()), eq2 + 2 * h, 1e-9 * eq2);
  }
}

TEST(ModelConfig, CountsTheFlopsOfEq3WithoutRecomputation) {
  const ModelConfig config{.vocab_size = 51200, .hidden_size = 12288, .num_layers = 96, .num_heads = 96,
                         .max_positions = 2048};
  const double h = 12288, l = 96, s = 2048, v = 51200, batch = 1536;
  const double expected = 72 * batch * s * l * h * h * (1 + s / (6 * h) + v / (12 * l * h));
  EXPECT_NEAR(batch * s * config.flops_per_token(2048), expected, 1e-9 * expected);
}

TEST(ModelConfig, CountsGpt2AsPublished) {
  EXPECT_EQ(ModelConfig{}.num_parameters(), 124439808);
}

TEST(Gpt, HoldsAsManyParametersAsTheConfigCounts) {
  ModelConfig config{.vocab_size = 100, .hidden_size = 24, .num_layers = 2, .num_heads = 3, .max_positions = 10,
                   .vocab_multiple = 1};
  const Gpt gpt(whole_gpt(config, DType::f32), false);
  EXPECT_EQ(gpt.parameters().table().num_parameters(), config.num_parameters());
}

TEST(ModelConfig, RefusesHeadsThatDoNotFit) {
  ModelConfig config{.hidden_size = 100, .num_heads = 12};
  try {
    config.validate();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("10 heads of 10"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace triax
