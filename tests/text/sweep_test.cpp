// Ids of generated strings, very long words, source code and prose against digests of those of `tokenizers`. The whole
// million of strings takes a minute or two:
//   build/test_text --gtest_also_run_disabled_tests --gtest_filter='Sweep.*'
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <functional>

#include "text/fixture.h"
#include "triax/base/parallel.h"
#include "triax/text/tokenizer.h"

namespace triax {
namespace {

constexpr int kBatch = 1000;

// Vocabularies that are not part of the project are passed over where they are absent.
void for_each_tokenizer(const std::function<void(const Tokenizer&, const test::Sweep::Expected&, const test::Sweep&)>& body) {
  const test::Sweep sweep = test::sweep();
  ASSERT_GE(sweep.tokenizers.size(), 3u);
  for (const auto& expected : sweep.tokenizers) {
    const auto own = test::data_path(expected.name);
    const auto path = std::filesystem::exists(own) ? std::optional(own) : test::shared_data("vocab/" + expected.name);
    if (path) body(*load_tokenizer(*path), expected, sweep);
  }
}

std::string batch_digest(const Tokenizer& tokenizer, size_t batch) {
  test::Random random(test::kSweepSeed + batch);
  uint64_t state = test::kDigestStart;
  for (int i = 0; i < kBatch; ++i) state = test::digest(tokenizer.encode(test::sweep_text(random)), state);
  return fmt::format("{:016x}", state);
}

TEST(Sweep, SampledBatches) {
  for_each_tokenizer([](const Tokenizer& tokenizer, const test::Sweep::Expected& expected, const test::Sweep&) {
    ASSERT_EQ(expected.batches.size(), 1000u);
    for (size_t batch = 7; batch < expected.batches.size(); batch += 125)
      EXPECT_EQ(batch_digest(tokenizer, batch), expected.batches[batch]) << expected.name << " batch " << batch;
  });
}

TEST(Sweep, DISABLED_AMillionStrings) {
  for_each_tokenizer([](const Tokenizer& tokenizer, const test::Sweep::Expected& expected, const test::Sweep&) {
    std::vector<std::string> digests(expected.batches.size());
    parallel_for(static_cast<int64_t>(digests.size()), 1, [&](int64_t begin, int64_t) {
      digests[static_cast<size_t>(begin)] = batch_digest(tokenizer, static_cast<size_t>(begin));
    });
    EXPECT_EQ(digests, expected.batches) << expected.name;
  });
}

TEST(Sweep, WordsOfAMegabyte) {
  for_each_tokenizer([](const Tokenizer& tokenizer, const test::Sweep::Expected& expected, const test::Sweep& sweep) {
    if (expected.name != "bpe" && expected.name != "wordpiece-uncased") return;  // one of each kind will do
    for (size_t i = 0; i < sweep.units.size(); ++i) {
      std::string text;
      for (int k = 0; k < sweep.units[i].second; ++k) text += sweep.units[i].first;
      EXPECT_EQ(fmt::format("{:016x}", test::digest(tokenizer.encode(text))), expected.repeated[i]) << expected.name << " unit " << i;
    }
  });
}

TEST(Sweep, SourceCodeAndProse) {
  for_each_tokenizer([](const Tokenizer& tokenizer, const test::Sweep::Expected& expected, const test::Sweep&) {
    uint64_t state = test::kDigestStart;
    for (const std::string& document : test::corpus()) state = test::digest(tokenizer.encode(document), state);
    EXPECT_EQ(fmt::format("{:016x}", state), expected.corpus) << expected.name;
  });
}

}  // namespace
}  // namespace triax
