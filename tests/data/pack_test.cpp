#include "triax/data/pack.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <fstream>
#include <thread>

#include "triax/base/error.h"
#include "triax/base/rng.h"
#include "triax/data/pack_journal.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kBytesEod = 256;

// Bytes are tokens. `delay` makes packing slow enough to be killed.
class ByteTokenizer final : public Tokenizer {
 public:
  explicit ByteTokenizer(int64_t vocab = 257, std::chrono::microseconds delay = {}) : vocab_(vocab), delay_(delay) {
    special_.eod = kBytesEod;
  }
  std::string_view kind() const override { return "bytes"; }
  int64_t vocab_size() const override { return vocab_; }
  const SpecialTokens& special_tokens() const override { return special_; }
  bool is_special(int32_t id) const override { return id == kBytesEod; }
  using Tokenizer::encode;
  void encode(std::string_view text, std::vector<int32_t>& ids, std::vector<ByteRange>*) const override {
    if (delay_.count() > 0) std::this_thread::sleep_for(delay_);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  }
  void encode_with_special(std::string_view text, std::vector<int32_t>& ids, std::vector<ByteRange>* offsets) const override {
    encode(text, ids, offsets);
  }
  void append_piece(int32_t id, bool, std::string& out) const override {
    if (id < 256) out += static_cast<char>(id);
  }
  std::string_view token_bytes(int32_t) const override { return {}; }
  std::string token_text(int32_t id) const override { return std::to_string(id); }
  std::optional<int32_t> id_of(std::string_view) const override { return {}; }
  bool starts_word(int32_t) const override { return true; }
  void save(const fs::path&) const override {}

 private:
  int64_t vocab_;
  std::chrono::microseconds delay_;
  SpecialTokens special_;
};

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class PackTest : public testing::Test {
 protected:
  fs::path file(const std::string& name, const std::string& content) const {
    std::ofstream(directory_.path() / name, std::ios::binary) << content;
    return directory_.path() / name;
  }
  // Documents of a few bytes to a few thousand, every 50th empty.
  fs::path corpus(const std::string& name, int documents, uint64_t seed) {
    Philox random(seed);
    std::string lines;
    for (int d = 0; d < documents; ++d) {
      const std::string text(d % 50 == 49 ? 0 : 1 + random.next_below(d % 10 ? 100 : 3000), static_cast<char>('a' + d % 26));
      lines += "{\"id\": " + std::to_string(d) + ", \"text\": \"" + text + "\"}\n";
    }
    return file(name, lines);
  }
  PackOptions options(std::vector<fs::path> inputs, const std::string& output = "out") const {
    PackOptions o{.inputs = std::move(inputs), .output = directory_.path() / output};
    o.documents.batch_bytes = 4096;
    return o;
  }
  std::vector<std::string> texts(const fs::path& prefix) const {
    const IndexedDataset data(prefix);
    std::vector<std::string> out;
    for (int64_t d = 0; d < data.num_documents(); ++d) {
      out.emplace_back();
      for (int64_t s = data.document_begin(d); s < data.document_begin(d + 1); ++s) {
        std::vector<int32_t> tokens(static_cast<size_t>(data.length(s)));
        data.read(s, 0, tokens);
        for (const int32_t token : tokens) out.back() += token == kBytesEod ? '$' : static_cast<char>(token);
      }
    }
    return out;
  }
  TemporaryDirectory directory_;
};

TEST_F(PackTest, DocumentsBecomeSequencesEndedByEod) {
  const auto o = options({file("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"\"}\n"), file("b.txt", "two")});
  const PackReport report = pack_documents(ByteTokenizer(), o);
  EXPECT_EQ(report.dataset, directory_.path() / "out_text_document");
  EXPECT_EQ(report.documents, 3u);
  EXPECT_EQ(report.tokens, 8u);
  EXPECT_EQ(report.text_bytes, 6u);
  EXPECT_EQ(texts(report.dataset), (std::vector<std::string>{"one$", "", "two$"}));
  const IndexedDataset data(report.dataset);
  EXPECT_EQ(data.token_type(), TokenType::u16);
  EXPECT_EQ(data.num_sequences(), 2);

  auto without = options(o.inputs, "without");
  without.append_eod = false;
  EXPECT_EQ(texts(pack_documents(ByteTokenizer(), without).dataset), (std::vector<std::string>{"one", "", "two"}));
  auto wide = options(o.inputs, "wide");
  EXPECT_EQ(IndexedDataset(pack_documents(ByteTokenizer(70000), wide).dataset).token_type(), TokenType::i32);
}

TEST_F(PackTest, SentencesBecomeSequences) {
  auto o = options({file("a.jsonl", "{\"text\": \"One. Two\\nlines.\"}\n{\"text\": \"\"}\n{\"text\": \"Three.\"}\n")});
  o.sentences = true;
  const PackReport report = pack_documents(ByteTokenizer(), o);
  EXPECT_EQ(report.dataset, directory_.path() / "out_text_sentence");
  const IndexedDataset data(report.dataset);
  EXPECT_EQ(data.num_sequences(), 3);
  EXPECT_EQ(data.num_documents(), 3);
  EXPECT_EQ(data.length(0), 4);
  EXPECT_EQ(texts(report.dataset), (std::vector<std::string>{"One.Two lines.", "", "Three."}));
  o.language = "de";
  EXPECT_NE(error_of([&] { pack_documents(ByteTokenizer(), o); }).find("language of the sentences"), std::string::npos);
}

TEST_F(PackTest, TheNumberOfThreadsChangesNothing) {
  const std::vector<fs::path> inputs = {corpus("a.jsonl", 400, 1), corpus("b.jsonl", 300, 2)};
  auto o = options(inputs, "one");
  o.threads = 1;
  const auto one = pack_documents(ByteTokenizer(), o).dataset;
  EXPECT_EQ(texts(one).size(), 700u);
  o.output = directory_.path() / "five";
  o.threads = 5;
  o.documents.batch_bytes = 100;
  const auto five = pack_documents(ByteTokenizer(), o).dataset;
  EXPECT_EQ(read_file(bin_path(one)), read_file(bin_path(five)));
  EXPECT_EQ(read_file(idx_path(one)), read_file(idx_path(five)));
}

TEST_F(PackTest, ARunKilledAnywhereIsGoneOnWith) {
  const std::vector<fs::path> inputs = {corpus("a.jsonl", 500, 3), corpus("b.jsonl", 500, 4)};
  auto o = options(inputs, "whole");
  const auto whole = pack_documents(ByteTokenizer(), o).dataset;
  o.output = directory_.path() / "killed";
  o.journal_seconds = 0;
  const fs::path killed = packed_dataset_path(o);
  Philox random(9);
  int deaths = 0;
  for (;; ++deaths) {
    ASSERT_LT(deaths, 1000);
    const pid_t child = ::fork();
    if (child == 0) {
      pack_documents(ByteTokenizer(257, std::chrono::microseconds(300)), o);
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(20000 + random.next_below(60000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      break;
    }
    EXPECT_FALSE(fs::exists(idx_path(killed)) && !fs::exists(bin_path(killed)));
  }
  EXPECT_GT(deaths, 2);
  EXPECT_EQ(read_file(bin_path(whole)), read_file(bin_path(killed)));
  EXPECT_EQ(read_file(idx_path(whole)), read_file(idx_path(killed)));
  EXPECT_TRUE(pack_documents(ByteTokenizer(), o).was_complete);
}

TEST_F(PackTest, EveryMomentOfTheEndCanBeResumed) {
  const auto o = options({corpus("a.jsonl", 60, 5)});
  const auto done = pack_documents(ByteTokenizer(), o).dataset;
  const std::string bin = read_file(bin_path(done)), idx = read_file(idx_path(done));
  PackJournal journal = *read_pack_journal(done);
  journal.complete = false;
  const auto check_mended = [&] {
    EXPECT_EQ(pack_documents(ByteTokenizer(), o).documents, 60u);
    EXPECT_EQ(read_file(bin_path(done)), bin);
    EXPECT_EQ(read_file(idx_path(done)), idx);
    EXPECT_TRUE(read_pack_journal(done)->complete);
  };
  // After both renames.
  write_pack_journal(done, journal);
  check_mended();
  // Between them: the lengths and documents are still parts.
  std::string lengths, documents;
  const IndexedDataset data(done);
  for (int64_t i = 0; i < data.num_sequences(); ++i) {
    const int32_t length = data.length(i);
    lengths.append(reinterpret_cast<const char*>(&length), 4);
  }
  for (int64_t d = 1; d <= data.num_documents(); ++d) {
    const int64_t begin = data.document_begin(d);
    documents.append(reinterpret_cast<const char*>(&begin), 8);
  }
  const auto leave_parts = [&] {
    fs::remove(idx_path(done));
    write_pack_journal(done, journal);
    std::ofstream(done.string() + ".idx.lengths.part", std::ios::binary) << lengths;
    std::ofstream(done.string() + ".idx.documents.part", std::ios::binary) << documents << "torn";
  };
  leave_parts();
  check_mended();
  // Before them.
  leave_parts();
  fs::rename(bin_path(done), done.string() + ".bin.part");
  check_mended();
}

TEST_F(PackTest, ABadRecordStopsAndCanThenBeSkipped) {
  std::string lines;
  for (int i = 0; i < 200; ++i) lines += i == 150 ? "{broken\n" : "{\"text\": \"" + std::to_string(i) + "\"}\n";
  auto o = options({file("a.jsonl", lines)});
  o.documents.batch_bytes = 64;
  const std::string message = error_of([&] { pack_documents(ByteTokenizer(), o); });
  EXPECT_NE(message.find("a.jsonl:151: not JSON"), std::string::npos) << message;
  EXPECT_NE(message.find("--skip-bad"), std::string::npos) << message;
  o.documents.skip_bad = true;
  const PackReport report = pack_documents(ByteTokenizer(), o);
  EXPECT_GT(report.resumed_documents, 100u);
  EXPECT_EQ(report.documents, 199u);
  EXPECT_EQ(report.bad_records, 1u);
  ASSERT_EQ(report.bad_examples.size(), 1u);
  EXPECT_EQ(texts(report.dataset)[150], "151$");
}

TEST_F(PackTest, AFailedStartLeavesNothing) {
  const auto o = options({file("a.jsonl", "{\"content\": \"x\"}\n")});
  EXPECT_NE(error_of([&] { pack_documents(ByteTokenizer(), o); }).find("no field \"text\""), std::string::npos);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_.path()), {}), 1);
}

TEST_F(PackTest, ChangedInputIsNoticed) {
  auto o = options({file("a.jsonl", "{\"text\": \"one\"}\n")});
  const auto dataset = pack_documents(ByteTokenizer(), o).dataset;
  EXPECT_TRUE(pack_documents(ByteTokenizer(), o).was_complete);
  EXPECT_NE(error_of([&] { pack_documents(ByteTokenizer(300), o); }).find("the tokenizer is another"), std::string::npos);
  file("a.jsonl", "{\"text\": \"two\"}\n{\"text\": \"three\"}\n");
  EXPECT_NE(error_of([&] { pack_documents(ByteTokenizer(), o); }).find("a.jsonl has changed"), std::string::npos);
  o.force = true;
  EXPECT_EQ(pack_documents(ByteTokenizer(), o).documents, 2u);
  o.force = false;
  fs::remove(pack_journal_path(dataset));
  EXPECT_NE(error_of([&] { pack_documents(ByteTokenizer(), o); }).find("exists already"), std::string::npos);
  std::ofstream(pack_journal_path(dataset)) << "{\"inputs\": 3}";
  EXPECT_NE(error_of([&] { pack_documents(ByteTokenizer(), o); }).find("cannot be understood"), std::string::npos);
}

TEST_F(PackTest, AFolderStandsForTheFilesInIt) {
  fs::create_directories(directory_.path() / "in/sub");
  file("in/b.txt", "b"), file("in/a.jsonl.gz", ""), file("in/sub/c.md", "c"), file("in/x.bin", "x");
  const auto files = expand_inputs({directory_.path() / "in", "y.txt"});
  ASSERT_EQ(files.size(), 4u);
  EXPECT_EQ(files[0].filename(), "a.jsonl.gz");
  EXPECT_EQ(files[2].filename(), "c.md");
  EXPECT_EQ(files[3], "y.txt");
  fs::create_directories(directory_.path() / "empty");
  EXPECT_THROW(expand_inputs({directory_.path() / "empty"}), Error);
}

PackReport pack_on_ranks(const PackOptions& options, int size, std::chrono::microseconds delay = {}) {
  std::barrier barrier(size);
  std::vector<PackReport> reports(static_cast<size_t>(size));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      reports[static_cast<size_t>(rank)] =
          pack_documents(ByteTokenizer(257, delay), options, {rank, size, [&] { barrier.arrive_and_wait(); }});
    });
  threads.clear();
  for (const PackReport& report : reports) EXPECT_EQ(report.tokens, reports[0].tokens);
  return reports[0];
}

TEST_F(PackTest, RanksTogetherGiveTheDatasetOfOne) {
  const std::vector<fs::path> inputs = {corpus("a.jsonl", 700, 1), file("b.txt", "a text"), corpus("c.jsonl", 30, 2)};
  const PackReport one = pack_documents(ByteTokenizer(), options(inputs, "one"));
  for (const int size : {2, 3, 5}) {
    const auto o = options(inputs, "ranks" + std::to_string(size));
    const PackReport several = pack_on_ranks(o, size);
    EXPECT_EQ(several.documents, one.documents);
    EXPECT_EQ(several.text_bytes, one.text_bytes);
    EXPECT_TRUE(read_file(bin_path(several.dataset)) == read_file(bin_path(one.dataset)));
    EXPECT_TRUE(read_file(idx_path(several.dataset)) == read_file(idx_path(one.dataset)));
    for (const auto& entry : fs::directory_iterator(directory_.path()))
      EXPECT_EQ(entry.path().string().find("-part-"), std::string::npos) << entry.path();
    EXPECT_TRUE(pack_on_ranks(o, size).was_complete);
    EXPECT_TRUE(pack_documents(ByteTokenizer(), o).was_complete);  // also for one process
  }
  auto tiny = options({file("tiny.jsonl", "{\"text\": \"x\"}\n")}, "tiny");
  EXPECT_EQ(texts(pack_on_ranks(tiny, 4).dataset), (std::vector<std::string>{"x$"}));
}

TEST_F(PackTest, RanksNameBadLinesAsTheFileNumbersThem) {
  std::string lines;
  for (int i = 1; i <= 300; ++i) lines += i == 290 ? "{bad\n" : "{\"text\": \"some text of this line\"}\n";
  auto o = options({file("a.jsonl", lines)});
  o.documents.skip_bad = true;
  std::barrier barrier(2);
  PackReport second;
  {
    std::jthread other([&] { second = pack_documents(ByteTokenizer(), o, {1, 2, [&] { barrier.arrive_and_wait(); }}); });
    EXPECT_EQ(pack_documents(ByteTokenizer(), o, {0, 2, [&] { barrier.arrive_and_wait(); }}).bad_records, 1u);
  }
  ASSERT_EQ(second.bad_examples.size(), 1u);
  EXPECT_NE(second.bad_examples[0].find("a.jsonl:290: not JSON"), std::string::npos) << second.bad_examples[0];
}

TEST_F(PackTest, PartsOfAnotherNumberOfRanksAreRefused) {
  const auto o = options({corpus("a.jsonl", 50, 3)});
  file("out-part-0-of-3_text_document.pack.json", "{}");
  EXPECT_NE(error_of([&] { pack_documents(ByteTokenizer(), o, {0, 2, [] {}}); }).find("another number of ranks"), std::string::npos);
}

TEST_F(PackTest, DocumentsAreExtracted) {
  const auto o = options({corpus("a.jsonl", 120, 4)});
  const PackReport report = pack_documents(ByteTokenizer(), o);
  const IndexedDataset data(report.dataset);
  extract_documents(data, 0, 50, directory_.path() / "first");
  extract_documents(data, 50, 120, directory_.path() / "second");
  const IndexedDataset parts[] = {IndexedDataset(directory_.path() / "first"), IndexedDataset(directory_.path() / "second")};
  EXPECT_EQ(parts[0].num_documents(), 50);
  merge_datasets(parts, directory_.path() / "again");
  EXPECT_TRUE(read_file(directory_.path() / "again.bin") == read_file(bin_path(report.dataset)));
  EXPECT_TRUE(read_file(directory_.path() / "again.idx") == read_file(idx_path(report.dataset)));
  EXPECT_THROW(extract_documents(data, 10, 121, directory_.path() / "bad"), Error);
}

}  // namespace
}  // namespace triax
