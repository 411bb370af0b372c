#include "triax/data/gpt_dataset.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "triax/base/error.h"
#include "triax/base/log.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

// The tokens that data/make_gpt_fixture.py expects in the datasets.
int32_t fixture_token(int64_t document, int64_t position) {
  return static_cast<int32_t>((document * 1009 + position * 7 + 1) % 60000);
}

IndexedDataset make_dataset(const fs::path& prefix, const std::vector<int64_t>& lengths) {
  IndexedDatasetWriter writer(prefix, TokenType::u16);
  for (size_t d = 0; d < lengths.size(); ++d) {
    std::vector<int32_t> tokens;
    for (int64_t t = 0; t < lengths[d]; ++t) tokens.push_back(fixture_token(static_cast<int64_t>(d), t));
    writer.add_document(tokens);
  }
  writer.commit();
  return IndexedDataset(prefix);
}

struct Case {
  std::string name;
  std::map<std::string, std::vector<int64_t>> fields;
};

std::vector<int64_t> numbers(std::istream& line) {
  std::vector<int64_t> out;
  for (int64_t value; line >> value;) out.push_back(value);
  return out;
}

std::vector<Case> read_cases(std::vector<std::vector<int64_t>>& permutations) {
  std::ifstream file(std::string(TRIAX_TEST_DATA) + "/gpt_fixture.txt");
  std::vector<Case> cases;
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string key;
    line >> key;
    if (key == "case") {
      line >> cases.emplace_back().name;
    } else if (key == "permutation") {
      permutations.push_back(numbers(line));
    } else {
      cases.back().fields[key] = numbers(line);
    }
  }
  return cases;
}

template <typename T>
std::vector<int64_t> as_numbers(std::span<const T> values) {
  return {values.begin(), values.end()};
}

TEST(GptDataset, IsMegatronsNumberForNumber) {
  std::vector<std::vector<int64_t>> permutations;
  const auto cases = read_cases(permutations);
  ASSERT_EQ(cases.size(), 13u);
  const TemporaryDirectory directory;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto& o = c.fields.at("options");
    const GptDataset data(make_dataset(directory.path() / c.name, c.fields.at("lengths")),
                          {.range = {o[0], o[1]}, .num_samples = o[2], .seq_length = o[3],
                           .seed = static_cast<uint32_t>(o[4]), .keep_partial = o[5] == 1, .use_cache = false});
    EXPECT_EQ(data.num_epochs(), c.fields.at("expect")[0]);
    EXPECT_EQ(as_numbers(data.document_index()), c.fields.at("documents"));
    EXPECT_EQ(as_numbers(data.shuffle_index()), c.fields.at("shuffle"));
    std::vector<int64_t> rows;
    for (const SampleRow& row : data.sample_index()) rows.push_back(row.document), rows.push_back(row.offset);
    EXPECT_EQ(rows, c.fields.at("rows"));
    EXPECT_GE(data.num_samples(), o[2]);

    uint64_t digest = 0;
    const auto add = [&](int64_t value) {
      const auto wide = static_cast<unsigned __int128>(digest) * 1000003 + static_cast<unsigned __int128>(value);
      digest = static_cast<uint64_t>(wide % (uint64_t{1} << 61));
    };
    std::vector<int32_t> tokens(static_cast<size_t>(o[3]) + 1);
    for (int64_t k = 0; k < data.num_samples(); ++k) {
      const int64_t count = data.sample(k, tokens);
      add(count);
      for (int64_t i = 0; i < count; ++i) add(tokens[static_cast<size_t>(i)]);
    }
    EXPECT_EQ(static_cast<int64_t>(digest), c.fields.at("expect")[2]);
  }
}

TEST(GptDataset, TheShuffleIsNumPys) {
  std::vector<std::vector<int64_t>> permutations;
  read_cases(permutations);
  ASSERT_EQ(permutations.size(), 4u);
  for (const auto& p : permutations) {
    std::vector<int32_t> values(static_cast<size_t>(p[1]));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int32_t>(i);
    std::mt19937 random(static_cast<uint32_t>(p[0]));
    numpy_shuffle(std::span(values), random);
    EXPECT_EQ(std::vector<int64_t>(values.begin(), values.end()), std::vector<int64_t>(p.begin() + 2, p.end()));
  }
}

TEST(GptDataset, SplitsAreRoundedAsPythonRounds) {
  EXPECT_EQ(split_ranges("969,30,1", 1000), (std::array<SequenceRange, 3>{{{0, 969}, {969, 999}, {999, 1000}}}));
  EXPECT_EQ(split_ranges("0.9, 0.1", 25), (std::array<SequenceRange, 3>{{{0, 22}, {22, 25}, {}}}));
  EXPECT_EQ(split_ranges("1", 7), (std::array<SequenceRange, 3>{{{0, 7}, {}, {}}}));
  EXPECT_EQ(split_ranges("1,1", 5), (std::array<SequenceRange, 3>{{{0, 2}, {2, 5}, {}}}));
  EXPECT_EQ(split_ranges("100,0,0", 3)[1], SequenceRange{});
  EXPECT_THROW(split_ranges("", 5), Error);
  EXPECT_THROW(split_ranges("1,x,1", 5), Error);
  EXPECT_THROW(split_ranges("0,0,0", 5), Error);
  EXPECT_THROW(split_ranges("1,-1,1", 5), Error);
  EXPECT_THROW(split_ranges("1,1,1,1", 5), Error);
}

TEST(GptDataset, SaysWhatCannotBe) {
  const TemporaryDirectory directory;
  const IndexedDataset data = make_dataset(directory.path() / "d", {10, 20, 0, 0});
  const auto error_of = [&](GptDatasetOptions options) -> std::string {
    options.use_cache = false;
    try {
      GptDataset(data, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(error_of({.range = {0, 4}, .seq_length = 29}), "no error");
  EXPECT_NE(error_of({.range = {0, 4}, .seq_length = 30}).find("fewer than one sample"), std::string::npos);
  EXPECT_NE(error_of({.range = {2, 4}, .num_samples = 5, .seq_length = 4}).find("0 tokens in all"), std::string::npos);
  EXPECT_NE(error_of({.range = {0, 5}, .seq_length = 4}).find("documents 0 to 5"), std::string::npos);
  EXPECT_NE(error_of({.range = {0, 4}, .num_samples = int64_t{1} << 60, .seq_length = 4}).find("more than an index can hold"), std::string::npos);
  EXPECT_NE(error_of({.range = {0, 4}, .num_samples = 3000000000, .seq_length = 1024}).find("more than an index can hold"), std::string::npos);
  EXPECT_NE(error_of({.range = {0, 4}, .seq_length = 0}).find("sequence length of 0"), std::string::npos);
}

TEST(GptDataset, KeepsItsIndexAndMendsIt) {
  const TemporaryDirectory directory;
  const IndexedDataset data = make_dataset(directory.path() / "d", {10, 20, 5, 0, 31});
  const GptDatasetOptions options{.range = {0, 5}, .num_samples = 40, .seq_length = 8};
  fs::path file;
  std::vector<int64_t> expected;
  {
    const GptDataset built(data, options);
    file = built.cache_file();
    expected = as_numbers(built.shuffle_index());
  }
  ASSERT_EQ(file.parent_path(), directory.path() / "d-cache");
  const auto written = fs::last_write_time(file);
  {
    const GptDataset found(data, options);
    EXPECT_EQ(as_numbers(found.shuffle_index()), expected);
    EXPECT_EQ(fs::last_write_time(file), written);
  }
  const std::string good = read_file(file);
  set_log_level(LogLevel::off);
  for (size_t at = 0; at < good.size(); at += 29) {
    std::string damaged = good;
    damaged[at] ^= 4;
    for (const std::string& content : {damaged, good.substr(0, at), good + "x"}) {
      std::ofstream(file, std::ios::binary) << content;
      const GptDataset mended(data, options);
      ASSERT_EQ(as_numbers(mended.shuffle_index()), expected);
    }
    ASSERT_EQ(read_file(file), good);
  }
  // Another question has another file, and a folder that cannot be written is no obstacle.
  auto other = options;
  other.seed = 2;
  EXPECT_NE(GptDataset(data, other).cache_file(), file);
  other.cache_directory = file / "not-a-folder";
  const GptDataset in_memory(data, other);
  EXPECT_TRUE(in_memory.cache_file().empty());
  EXPECT_EQ(in_memory.num_samples(), static_cast<int64_t>(expected.size()));
  set_log_level(LogLevel::info);
}

}  // namespace
}  // namespace triax
