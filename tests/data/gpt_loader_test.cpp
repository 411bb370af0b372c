#include "triax/data/gpt_loader.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "triax/base/error.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kLoaderEod = 9;

// Documents of the given tokens, each ended by kLoaderEod.
fs::path write_documents(const fs::path& prefix, const std::vector<std::vector<int32_t>>& documents) {
  IndexedDatasetWriter writer(prefix, TokenType::u16);
  for (auto tokens : documents) {
    tokens.push_back(kLoaderEod);
    writer.add_document(tokens);
  }
  writer.commit();
  return prefix;
}

std::vector<std::vector<int32_t>> many(int documents, int32_t token) {
  return std::vector<std::vector<int32_t>>(static_cast<size_t>(documents), std::vector<int32_t>(7, token));
}

class GptLoaderTest : public testing::Test {
 protected:
  GptLoaderOptions options(std::vector<DataSource> sources) const {
    return {.sources = std::move(sources), .split = "1", .seq_length = 4, .eod = kLoaderEod, .use_cache = false};
  }
  TemporaryDirectory directory_;
};

TEST(Blend, FollowsTheRule) {
  std::ifstream file(std::string(TRIAX_TEST_DATA) + "/blend_fixture.txt");
  int cases = 0;
  for (std::string text; std::getline(file, text); ++cases) {
    std::istringstream line(text);
    size_t n = 0;
    int64_t size = 0;
    line >> n;
    std::vector<double> weights(n);
    for (double& weight : weights) line >> weight;
    line >> size;
    const BlendIndex index = blend_by_weight(weights, size);
    for (const auto& values : {std::vector<uint32_t>(index.dataset.begin(), index.dataset.end()), index.sample})
      for (const uint32_t value : values) {
        uint32_t expected = 0;
        line >> expected;
        ASSERT_EQ(value, expected) << text;
      }
  }
  EXPECT_EQ(cases, 4);
}

TEST(Blend, EveryPrefixHasTheProportions) {
  const std::vector<double> weights = {0.7, 2.9, 0.05, 1.0};
  const auto shares = normalized_weights(weights);
  const BlendIndex index = blend_by_weight(weights, 5000);
  std::vector<double> counts(4);
  for (size_t i = 0; i < index.dataset.size(); ++i) {
    EXPECT_EQ(index.sample[i], counts[index.dataset[i]]);
    counts[index.dataset[i]] += 1;
    for (size_t d = 0; d < 4; ++d) ASSERT_LT(std::abs(counts[d] - shares[d] * static_cast<double>(i + 1)), 2.0);
  }
}

TEST(Blend, EverythingTakesEachSampleOnce) {
  const std::vector<int64_t> sizes = {3, 0, 10, 1};
  const BlendIndex index = blend_everything(sizes);
  std::vector<int64_t> counts(4);
  for (size_t i = 0; i < index.dataset.size(); ++i) EXPECT_EQ(index.sample[i], counts[index.dataset[i]]++);
  EXPECT_EQ(counts, sizes);
}

TEST(Blend, RefusesImpossibleWeights) {
  EXPECT_THROW(normalized_weights(std::vector<double>{1, -1}), Error);
  EXPECT_THROW(normalized_weights(std::vector<double>{0, 0}), Error);
  EXPECT_THROW(normalized_weights(std::vector<double>{1, NAN}), Error);
}

TEST_F(GptLoaderTest, LabelsAreTheNextTokens) {
  auto o = options({{write_documents(directory_.path() / "d", {{1, 2, 3}, {4, 5, 6, 7}})}});
  GptBatch batch;
  const GptLoader loader(o);
  ASSERT_EQ(loader.num_samples(), 2);
  loader.batch(0, 2, batch);
  for (const size_t i : {0, 1, 2, 4, 5, 6}) EXPECT_EQ(batch.labels[i], batch.tokens[i + 1]);
  EXPECT_EQ(batch.positions, (std::vector<int32_t>{0, 1, 2, 3, 0, 1, 2, 3}));
  EXPECT_EQ(batch.loss_mask, std::vector<float>(8, 1.0f));
  EXPECT_EQ(batch.spans, (std::vector<TokenSpan>{{0, 4}, {4, 4}}));
}

TEST_F(GptLoaderTest, EndsOfDocumentsMaskAndReset) {
  auto o = options({{write_documents(directory_.path() / "d", {{1, 2, 3, 4, 5}})}});
  o.seq_length = 8;
  o.num_samples = 1;  // two epochs of 6 tokens: 1 2 3 4 5 E 1 2 [3]
  o.eod_mask_loss = o.reset_positions = o.reset_attention_mask = true;
  GptBatch batch;
  GptLoader(o).batch(0, 1, batch);
  EXPECT_EQ(batch.tokens, (std::vector<int32_t>{1, 2, 3, 4, 5, kLoaderEod, 1, 2}));
  EXPECT_EQ(batch.labels, (std::vector<int32_t>{2, 3, 4, 5, kLoaderEod, 1, 2, 3}));
  EXPECT_EQ(batch.loss_mask, (std::vector<float>{1, 1, 1, 1, 1, 0, 1, 1}));
  EXPECT_EQ(batch.positions, (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 0, 1}));
  EXPECT_EQ(batch.spans, (std::vector<TokenSpan>{{0, 6}, {6, 2}}));
  o.eod = -1;
  EXPECT_THROW(GptLoader{o}, Error);
}

TEST_F(GptLoaderTest, APartialSampleIsPaddedAndMasked) {
  auto o = options({{write_documents(directory_.path() / "d", {{1, 2, 3, 4, 5}})}});
  o.keep_partial = true;
  GptBatch batch;
  const GptLoader loader(o);
  ASSERT_EQ(loader.num_samples(), 2);
  loader.batch(0, 2, batch);
  const size_t p = batch.tokens[0] == 1 ? 4 : 0;  // the partial one: tokens 5, E
  EXPECT_EQ((std::vector<int32_t>(batch.tokens.begin() + static_cast<ptrdiff_t>(p), batch.tokens.begin() + static_cast<ptrdiff_t>(p) + 4)),
            (std::vector<int32_t>{5, kLoaderEod, 0, 0}));
  EXPECT_EQ((std::vector<float>(batch.loss_mask.begin() + static_cast<ptrdiff_t>(p), batch.loss_mask.begin() + static_cast<ptrdiff_t>(p) + 4)),
            (std::vector<float>{1, 0, 0, 0}));
  EXPECT_EQ(batch.spans[p / 4], (TokenSpan{static_cast<int64_t>(p), 2}));
}

TEST_F(GptLoaderTest, BatchesAreWindowsOfOneOrder) {
  auto o = options({{write_documents(directory_.path() / "a", many(30, 1)), 3}, {write_documents(directory_.path() / "b", many(4, 2)), 1}});
  o.num_samples = 100;
  const GptLoader loader(o);
  EXPECT_EQ(loader.num_samples(), 100);
  EXPECT_EQ(loader.samples_per_dataset(), (std::vector<int64_t>{75, 25}));
  GptBatch whole, part;
  loader.batch(0, 100, whole);
  for (const int64_t size : {1, 7, 50}) {
    for (int64_t first = 0; first + size <= 100; first += size) {
      loader.batch(first, size, part);
      EXPECT_TRUE(std::equal(part.tokens.begin(), part.tokens.end(), whole.tokens.begin() + first * 4));
      EXPECT_TRUE(std::equal(part.labels.begin(), part.labels.end(), whole.labels.begin() + first * 4));
    }
  }
  // The same again from the start: no state but the number of the sample.
  const int32_t* const memory = whole.tokens.data();
  const auto before = whole.tokens;
  GptLoader(o).batch(0, 100, whole);
  EXPECT_EQ(whole.tokens, before);
  EXPECT_EQ(whole.tokens.data(), memory);
  EXPECT_THROW(loader.batch(99, 2, part), Error);
  EXPECT_THROW(loader.batch(-1, 1, part), Error);
}

TEST_F(GptLoaderTest, WithoutWeightsEverySampleComesOnce) {
  auto o = options({{write_documents(directory_.path() / "a", many(3, 1))}, {write_documents(directory_.path() / "b", many(9, 2))}});
  const GptLoader loader(o);
  EXPECT_EQ(loader.samples_per_dataset(), (std::vector<int64_t>{5, 17}));
  o.num_samples = 23;
  EXPECT_THROW(GptLoader{o}, Error);
}

TEST_F(GptLoaderTest, TokensOutsideTheVocabularyAreNamed) {
  auto o = options({{write_documents(directory_.path() / "d", {{1, 2, 3, 4, 300}})}});
  o.vocab_size = 300;
  GptBatch batch;
  const GptLoader loader(o);
  EXPECT_THROW(loader.batch(0, 1, batch), Error);
  o.vocab_size = 301;
  EXPECT_NO_THROW(GptLoader(o).batch(0, 1, batch));
}

TEST_F(GptLoaderTest, AnEmptyPartOfTheSplitIsNamed) {
  auto o = options({{write_documents(directory_.path() / "d", {{1, 2, 3, 4, 5}})}});
  o.split = "969,30,1";
  o.part = Split::valid;
  EXPECT_THROW(GptLoader{o}, Error);
  o.sources.clear();
  EXPECT_THROW(GptLoader{o}, Error);
}

}  // namespace
}  // namespace triax
