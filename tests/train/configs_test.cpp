// The files in configs/ load, fit together, and have the size that their name says.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "triax/base/config.h"
#include "triax/train/run_config.h"

namespace triax {
namespace {

TEST(Configs, LoadAndHaveTheSizeOfTheirName) {
  const std::map<std::string, double> sizes = {
      {"gpt-1m", 1.35e6},      {"gpt-10m", 11.6e6},    {"gpt-14m", 13.9e6},    {"gpt2-124m", 124.4e6},
      {"gpt2-355m", 354.8e6}, {"gpt2-774m", 774.0e6}, {"gpt2-1558m", 1557.6e6}, {"gpt-1.7b", 1.65e9},
      {"gpt-3.6b", 3.56e9},   {"gpt-7.5b", 7.47e9},   {"gpt-18b", 18.45e9},   {"gpt-39b", 39.1e9},
      {"gpt-76b", 76.05e9},   {"gpt-145b", 145.6e9},  {"gpt-310b", 310.1e9},  {"gpt-530b", 529.6e9},
      {"gpt-1t", 1008.0e9},   {"quickstart", 11.6e6},
      {"bert-mini", 4.38e6},  {"bert-base", 110.1e6}, {"bert-large", 336.2e6}, {"bert-336m", 336.2e6}, {"bert-1.3b", 1.28e9},
      {"bert-3.9b", 3.87e9},  {"biomegatron-345m", 336.2e6}, {"biomegatron-800m", 0.79e9}, {"biomegatron-1.2b", 1.28e9}};
  size_t seen = 0;
  for (const auto& file : std::filesystem::directory_iterator(std::string(TRIAX_SOURCE_DIR) + "/configs")) {
    if (file.path().extension() != ".toml") continue;
    RunConfig config;
    ConfigFields(config).load_file(file.path());
    if (config.model.vocab_size == 0) config.model.vocab_size = 4096;  // the quickstart's tokenizer
    EXPECT_NO_THROW(config.resolve()) << file.path();
    EXPECT_NO_THROW(config.model.validate()) << file.path();
    const auto size = sizes.find(file.path().stem());
    ASSERT_NE(size, sizes.end()) << file.path() << " is not in this test's list";
    EXPECT_NEAR(static_cast<double>(config.model.num_parameters()), size->second, 0.01 * size->second) << file.path();
    ++seen;
  }
  EXPECT_EQ(seen, sizes.size());
}

// Devlin et al. 2019; Shoeybi et al. 2019, table 5: as many digits as they give.
TEST(Configs, BertsHaveTheParametersThatWerePublished) {
  const std::map<std::string, std::pair<double, double>> published = {  // and the unit of the last digit
      {"bert-base", {110e6, 1e6}}, {"bert-336m", {336e6, 1e6}}, {"bert-1.3b", {1.3e9, 0.1e9}}, {"bert-3.9b", {3.9e9, 0.1e9}}};
  for (const auto& [name, size] : published) {
    RunConfig config;
    ConfigFields(config).load_file(std::string(TRIAX_SOURCE_DIR) + "/configs/" + name + ".toml");
    EXPECT_TRUE(config.model.is_bert());
    EXPECT_LE(std::fabs(static_cast<double>(config.model.num_parameters()) - size.first), size.second / 2) << name;
  }
}

}  // namespace
}  // namespace triax
