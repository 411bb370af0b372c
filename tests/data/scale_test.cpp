// What a large dataset costs; not part of the suite, since it writes 200 MB and takes seconds:
//   build/test_data --gtest_also_run_disabled_tests --gtest_filter='*Scale*'
#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <functional>

#include "triax/base/rng.h"
#include "triax/data/gpt_index.h"
#include "triax/data/gpt_loader.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

// Bytes of memory that this process has taken and that no file backs, and the most it ever had.
int64_t status_bytes(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;)
    if (word == key + ":") {
      int64_t kilobytes = 0;
      file >> kilobytes;
      return kilobytes * 1024;
    }
  return -1;
}

// CPU seconds: what the machine does besides does not count.
double seconds_of(const std::function<void()>& body) {
  const std::clock_t begin = std::clock();
  body();
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

// Ten million documents, ten billion tokens: a dataset with a sparse .bin.
fs::path make_large(const fs::path& prefix) {
  constexpr int64_t kDocuments = 10'000'000;
  Philox random(1);
  FileWriter idx(idx_path(prefix));
  const auto put = [&](auto value) { idx.write(&value, sizeof value); };
  idx.write("MMIDIDX\0\0", 9);
  put(uint64_t{1}), put(uint8_t{8}), put(uint64_t{kDocuments}), put(uint64_t{kDocuments + 1});
  std::vector<int32_t> lengths(kDocuments);
  for (int32_t& length : lengths) length = static_cast<int32_t>(1 + random.next_below(2000));
  idx.write(lengths.data(), lengths.size() * 4);
  int64_t bytes = 0;
  for (const int32_t length : lengths) put(bytes), bytes += 2 * int64_t{length};
  for (int64_t d = 0; d <= kDocuments; ++d) put(d);
  idx.commit();
  std::ofstream(bin_path(prefix)).close();
  fs::resize_file(bin_path(prefix), static_cast<uintmax_t>(bytes));
  return prefix;
}

TEST(Scale, DISABLED_AnIndexOfTenBillionTokens) {
  const TemporaryDirectory directory;
  make_large(directory.path() / "large");
  IndexedDataset data;
  std::printf("open and check:  %.2f s\n", seconds_of([&] { data = IndexedDataset(directory.path() / "large"); }));
  const GptDatasetOptions options{.range = {0, data.num_sequences()}, .num_samples = 12'000'000, .seq_length = 1024};
  const int64_t before = status_bytes("RssAnon");
  double index_bytes = 0;
  double seconds = seconds_of([&] {
    const GptIndexArrays arrays = build_gpt_index(data, options);
    index_bytes = 4.0 * static_cast<double>(arrays.documents.size()) + 8.0 * static_cast<double>(arrays.rows.size()) +
                  4.0 * static_cast<double>(arrays.shuffle.size());
    std::printf("build: index of %.0f MB, memory %.0f MB\n", index_bytes / 1e6,
                static_cast<double>(status_bytes("RssAnon") - before) / 1e6);
  });
  std::printf("build:           %.2f s\n", seconds);
  std::printf("build and keep:  %.2f s\n", seconds_of([&] { GptDataset(data, options); }));
  std::printf("find again:      %.2f s\n", seconds_of([&] { GptDataset(data, options); }));
  const GptDataset dataset(data, options);
  std::vector<int32_t> tokens(1025);
  seconds = seconds_of([&] {
    for (int64_t k = 0; k < 10000; ++k) dataset.sample(k, tokens);
  });
  std::printf("10,000 samples:  %.2f s, %.1f M tokens/s\n", seconds, 10.24 / seconds);
  std::printf("first batch after a resume, dataset opened anew:  %.2f s\n", seconds_of([&] {
    const GptLoader loader({.sources = {{directory.path() / "large", 1}}, .split = "1", .num_samples = 12'000'000, .seq_length = 1024});
    GptBatch batch;
    loader.batch(6'000'000, 32, batch);
  }));
  EXPECT_EQ(dataset.num_epochs(), 2);
}

}  // namespace
}  // namespace triax
