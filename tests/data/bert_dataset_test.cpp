#include "triax/data/bert_dataset.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "triax/base/error.h"
#include "triax/base/file.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kPad = 0, kCls = 1, kSep = 2, kMask = 3, kWords = 200;

// Even tokens begin a word, odd ones go on with it.
BertVocabulary vocabulary() {
  BertVocabulary v{.cls = kCls, .sep = kSep, .mask = kMask, .pad = kPad, .starts_word = {}, .replacements = {}};
  for (int32_t id = 0; id < kWords; ++id) {
    v.starts_word.push_back(id < 4 || id % 2 == 0);
    if (id >= 4) v.replacements.push_back(id);
  }
  return v;
}

IndexedDataset write_sentences(const fs::path& prefix, const std::vector<std::vector<std::vector<int32_t>>>& documents) {
  IndexedDatasetWriter writer(prefix, TokenType::u16);
  for (const auto& document : documents) {
    for (const auto& sentence : document) writer.add_sequence(sentence);
    writer.end_document();
  }
  writer.commit();
  return IndexedDataset(prefix);
}

// Documents of sentences of words of one to three pieces.
IndexedDataset random_text(const fs::path& prefix, int documents) {
  Philox random(4);
  std::vector<std::vector<std::vector<int32_t>>> text;
  for (int d = 0; d < documents; ++d) {
    text.emplace_back();
    for (uint64_t s = 2 + random.next_below(8); s > 0; --s) {
      std::vector<int32_t> sentence;
      for (uint64_t w = 1 + random.next_below(20); w > 0; --w) {
        sentence.push_back(static_cast<int32_t>(4 + 2 * random.next_below(98)));
        for (uint64_t piece = random.next_below(3); piece > 0; --piece)
          sentence.push_back(static_cast<int32_t>(5 + 2 * random.next_below(97)));
      }
      text.back().push_back(sentence);
    }
  }
  return write_sentences(prefix, text);
}

TEST(BertDataset, TheMappingIsMegatronsNumberForNumber) {
  std::ifstream file(std::string(TRIAX_TEST_DATA) + "/bert_fixture.txt");
  const TemporaryDirectory directory;
  int cases = 0;
  const auto line_of = [&](const char* key) {
    std::string line, word;
    std::getline(file, line);
    std::istringstream stream(line);
    stream >> word;
    EXPECT_EQ(word, key);
    std::vector<double> values;
    for (double value; stream >> value;) values.push_back(value);
    return values;
  };
  for (; file.peek() != EOF; ++cases) {
    const auto numbers = line_of("documents"), options = line_of("options"), rows = line_of("rows");
    std::vector<std::vector<std::vector<int32_t>>> documents;
    for (size_t i = 0; i < numbers.size();) {
      documents.emplace_back();
      for (auto left = static_cast<size_t>(numbers[i++]); left > 0; --left)
        documents.back().emplace_back(static_cast<size_t>(numbers[i++]), 7);
    }
    const auto found = build_bert_mapping(write_sentences(directory.path() / std::to_string(cases), documents),
                                          {.documents = {0, static_cast<int64_t>(documents.size())},
                                           .num_samples = static_cast<int64_t>(options[0]),
                                           .seq_length = static_cast<int64_t>(options[1]),
                                           .seed = static_cast<uint32_t>(options[3]),
                                           .short_probability = options[2]});
    std::vector<double> flat;
    for (const BertRow& row : found)
      for (const int32_t value : {row.first, row.end, row.target}) flat.push_back(value);
    EXPECT_EQ(flat, rows);
  }
  EXPECT_EQ(cases, 3);
}

TEST(BertDataset, SamplesAreTwoPartsOfADocument) {
  const TemporaryDirectory directory;
  const IndexedDataset data = write_sentences(directory.path() / "d", {{{10, 12}, {20}, {30, 32, 34}, {40}}});
  const BertDataset dataset(data, vocabulary(), {.documents = {0, 1}, .num_samples = 200, .seq_length = 16, .short_probability = 0});
  BertBatch batch;
  dataset.batch(0, dataset.num_samples(), batch);
  std::map<std::pair<std::vector<int32_t>, int32_t>, int> seen;
  for (int64_t s = 0; s < batch.count; ++s) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < 16; ++i) {
      const auto at = static_cast<size_t>(s * 16 + i);
      tokens.push_back(batch.loss_mask[at] != 0 ? batch.labels[at] : batch.tokens[at]);
      EXPECT_EQ(batch.types[at], i > 0 && i < 10 && std::count(tokens.begin(), tokens.end() - 1, kSep) == 1 ? 1 : 0);
    }
    EXPECT_EQ(batch.spans[static_cast<size_t>(s)], (TokenSpan{s * 16, 10}));
    ++seen[{tokens, batch.exchanged[static_cast<size_t>(s)]}];
  }
  using T = std::vector<int32_t>;
  const T parts[3][2] = {{{10, 12}, {20, 30, 32, 34, 40}}, {{10, 12, 20}, {30, 32, 34, 40}}, {{10, 12, 20, 30, 32, 34}, {40}}};
  EXPECT_EQ(seen.size(), 6u);
  for (const auto& [a, b] : parts)
    for (const int exchanged : {0, 1}) {
      T tokens = {kCls};
      for (const T& part : exchanged ? std::vector<T>{b, a} : std::vector<T>{a, b}) {
        tokens.insert(tokens.end(), part.begin(), part.end());
        tokens.push_back(kSep);
      }
      tokens.resize(16, kPad);
      EXPECT_GT((seen[{tokens, exchanged}]), 10);
    }
}

TEST(BertDataset, WholeWordsAreMaskedInTheAskedShares) {
  const TemporaryDirectory directory;
  const BertDataset dataset(random_text(directory.path() / "d", 300), vocabulary(), {.documents = {0, 300}, .num_samples = 2000, .seq_length = 128});
  BertBatch batch;
  dataset.batch(0, 2000, batch);
  double tokens = 0, chosen = 0, masked = 0, same = 0, exchanged = 0;
  for (int64_t s = 0; s < batch.count; ++s) {
    const TokenSpan span = batch.spans[static_cast<size_t>(s)];
    int64_t in_sample = 0;
    for (int64_t i = 0; i < 128; ++i) {
      const auto at = static_cast<size_t>(s * 128 + i);
      if (batch.loss_mask[at] == 0) continue;
      ASSERT_LT(i, span.length);
      ASSERT_GE(batch.labels[at], 4);
      ++in_sample;
      masked += batch.tokens[at] == kMask;
      same += batch.tokens[at] == batch.labels[at];
      // The next piece of a word that is masked is masked too.
      const auto next = at + 1;
      const bool goes_on = batch.loss_mask[next] == 0 && batch.tokens[next] >= 4 && batch.tokens[next] % 2 == 1;
      EXPECT_FALSE(goes_on);
    }
    tokens += static_cast<double>(span.length);
    chosen += static_cast<double>(in_sample);
    EXPECT_LE(static_cast<double>(in_sample), std::max(1.0, std::round(0.15 * static_cast<double>(span.length))));
    exchanged += batch.exchanged[static_cast<size_t>(s)];
  }
  EXPECT_NEAR(chosen / tokens, 0.15, 0.01);
  EXPECT_NEAR(masked / chosen, 0.8, 0.01);
  EXPECT_NEAR(same / chosen, 0.1, 0.01);
  EXPECT_NEAR(exchanged / 2000, 0.5, 0.04);
}

TEST(BertDataset, ASampleDependsOnItsNumberAlone) {
  const TemporaryDirectory directory;
  const BertDataset dataset(random_text(directory.path() / "d", 50), vocabulary(), {.documents = {0, 50}, .num_samples = 100, .seq_length = 64});
  BertBatch whole, part;
  dataset.batch(0, 100, whole);
  dataset.batch(37, 5, part);
  EXPECT_TRUE(std::equal(part.tokens.begin(), part.tokens.end(), whole.tokens.begin() + 37 * 64));
  EXPECT_TRUE(std::equal(part.labels.begin(), part.labels.end(), whole.labels.begin() + 37 * 64));
  EXPECT_THROW(dataset.batch(dataset.num_samples(), 1, part), Error);
}

TEST(BertDataset, SaysWhatCannotBe) {
  const TemporaryDirectory directory;
  const IndexedDataset single = write_sentences(directory.path() / "d", {{{10}}, {}, {{11}}});
  EXPECT_THROW(build_bert_mapping(single, {.documents = {0, 3}, .seq_length = 64}), Error);
  const IndexedDataset foreign = write_sentences(directory.path() / "f", {{{10}, {kWords}}});
  const BertDataset dataset(foreign, vocabulary(), {.documents = {0, 1}, .seq_length = 64});
  BertBatch batch;
  EXPECT_THROW(dataset.batch(0, 1, batch), Error);
  EXPECT_THROW(build_bert_mapping(foreign, {.documents = {0, 1}, .seq_length = 4}), Error);
  EXPECT_THROW(build_bert_mapping(foreign, {.documents = {0, 2}, .seq_length = 64}), Error);
}

TEST(BertDataset, TheMappingIsKeptAndDamageIsFound) {
  const TemporaryDirectory directory;
  const IndexedDataset data = random_text(directory.path() / "d", 60);
  const BertDatasetOptions options{.documents = {0, 60}, .num_samples = 100, .seq_length = 64};
  const std::vector<BertRow> expected = build_bert_mapping(data, options);
  const auto rows = [&] {
    const BertDataset dataset(data, vocabulary(), options);
    EXPECT_GT(dataset.samples_of_an_epoch(), 0);
    return std::vector<BertRow>(dataset.rows().begin(), dataset.rows().end());
  };
  EXPECT_EQ(rows(), expected);
  fs::path file;
  for (const auto& entry : fs::directory_iterator(directory.path() / "d-cache")) file = entry.path();
  const std::string whole = read_file(file);
  EXPECT_EQ(rows(), expected);
  Philox random(9);
  for (int i = 0; i < 40; ++i) {
    std::string damaged = whole;
    if (i % 2 == 0) damaged.resize(random.next_below(whole.size()));
    else damaged[random.next_below(whole.size())] ^= static_cast<char>(1 + random.next_below(255));
    write_file_atomic(file, damaged);
    EXPECT_EQ(rows(), expected);
    EXPECT_EQ(read_file(file), whole) << "and is written anew";
  }
  fs::remove_all(directory.path() / "d-cache");
  write_file_atomic(directory.path() / "d-cache", "no folder");
  EXPECT_EQ(rows(), expected);
}

}  // namespace
}  // namespace triax
