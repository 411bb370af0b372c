#include "triax/data/indexed_dataset.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "triax/base/error.h"
#include "triax/base/rng.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

std::vector<int32_t> all_of(const IndexedDataset& data, int64_t i) {
  std::vector<int32_t> tokens(static_cast<size_t>(data.length(i)));
  data.read(i, 0, tokens);
  return tokens;
}

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// An index written here, field by field, so that the reader is not only tested against our writer.
std::string index_bytes(uint8_t code, std::vector<int32_t> lengths, std::vector<int64_t> pointers,
                        std::vector<int64_t> documents) {
  std::string out("MMIDIDX\0\0", 9);
  put(out, uint64_t{1});
  put(out, code);
  put(out, static_cast<uint64_t>(lengths.size()));
  put(out, static_cast<uint64_t>(documents.size()));
  for (const auto v : lengths) put(out, v);
  for (const auto v : pointers) put(out, v);
  for (const auto v : documents) put(out, v);
  return out;
}

void expect_error(const fs::path& path, std::string_view part) {
  try {
    const IndexedDataset data(path);
    FAIL() << "opened, but should say: " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
  }
}

class IndexedDatasetTest : public testing::Test {
 protected:
  fs::path prefix(const char* name = "d") const { return directory_.path() / name; }
  void write(const std::string& bin, const std::string& idx) const {
    write_file_atomic(bin_path(prefix()), bin);
    write_file_atomic(idx_path(prefix()), idx);
  }
  TemporaryDirectory directory_;
};

TEST_F(IndexedDatasetTest, WritesTheDocumentedBytes) {
  {
    IndexedDatasetWriter writer(prefix(), TokenType::u16);
    writer.add_document(std::vector<int32_t>{1, 2, 65535});
    writer.end_document();  // a document without sequences
    writer.add_sequence(std::vector<int32_t>{7});
    writer.add_sequence(std::vector<int32_t>{});
    writer.end_document();
    EXPECT_FALSE(fs::exists(bin_path(prefix())));
    writer.commit();
  }
  std::string bin;
  for (const int token : {1, 2, 65535, 7}) put(bin, static_cast<uint16_t>(token));
  EXPECT_EQ(read_file(bin_path(prefix())), bin);
  EXPECT_EQ(read_file(idx_path(prefix())), index_bytes(8, {3, 1, 0}, {0, 6, 8}, {0, 1, 1, 3}));
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_.path()), {}), 2);

  const IndexedDataset data(idx_path(prefix()));
  EXPECT_EQ(data.num_sequences(), 3);
  EXPECT_EQ(data.num_documents(), 3);
  EXPECT_EQ(data.num_tokens(), 4);
  EXPECT_EQ(data.document_begin(2), 1);
  EXPECT_EQ(all_of(data, 0), (std::vector<int32_t>{1, 2, 65535}));
  std::vector<int32_t> middle(1);
  data.read(0, 1, middle);
  EXPECT_EQ(middle[0], 2);
  EXPECT_THROW(data.read(0, 3, middle), Error);
  EXPECT_THROW(data.read(3, 0, middle), Error);
}

TEST_F(IndexedDatasetTest, ReadsEveryTokenType) {
  const auto check_type = [&]<typename T>(uint8_t code, T first, T second) {
    std::string bin;
    put(bin, first), put(bin, second);
    write(bin, index_bytes(code, {2}, {0}, {0, 1}));
    const IndexedDataset data(prefix());
    EXPECT_EQ(all_of(data, 0), (std::vector<int32_t>{static_cast<int32_t>(first), static_cast<int32_t>(second)}));
  };
  check_type(uint8_t{1}, uint8_t{3}, uint8_t{255});
  check_type(uint8_t{2}, int8_t{3}, int8_t{127});
  check_type(uint8_t{3}, int16_t{3}, int16_t{32767});
  check_type(uint8_t{4}, int32_t{3}, int32_t{2147483647});
  check_type(uint8_t{5}, int64_t{3}, int64_t{2147483647});
  check_type(uint8_t{8}, uint16_t{3}, uint16_t{65535});
  write(std::string(16, '\1'), index_bytes(5, {2}, {0}, {0, 1}));
  const IndexedDataset wide(prefix());
  EXPECT_THROW(all_of(wide, 0), Error);
  write(std::string(8, '\0'), index_bytes(7, {2}, {0}, {0, 1}));
  expect_error(prefix(), "float32");
}

TEST_F(IndexedDatasetTest, EveryWrongFieldIsNamed) {
  const std::string bin(8, '\0');
  const std::string good = index_bytes(8, {1, 3}, {0, 2}, {0, 1, 2});
  write(bin, good);
  EXPECT_NO_THROW(IndexedDataset(prefix("d.idx")));
  expect_error(prefix("absent"), "does not exist");
  const auto with = [&](size_t at, auto value) {
    std::string idx = good;
    std::memcpy(idx.data() + at, &value, sizeof value);
    write(bin, idx);
  };
  with(0, 'X');
  expect_error(prefix(), "MMIDIDX");
  with(9, uint64_t{2});
  expect_error(prefix(), "version 2");
  with(17, uint8_t{9});
  expect_error(prefix(), "type code 9");
  with(18, uint64_t{1} << 62);
  expect_error(prefix(), "do not fit");
  with(26, uint64_t{1} << 61);
  expect_error(prefix(), "do not fit");
  with(34, int32_t{-1});
  expect_error(prefix(), "length -1");
  with(38, int32_t{4});
  expect_error(prefix(), "lies outside");
  with(42, int64_t{-2});
  expect_error(prefix(), "lies outside");
  with(50, INT64_MAX);
  expect_error(prefix(), "lies outside");
  with(58, int64_t{1});
  expect_error(prefix(), "entry 0 of the document array");
  with(66, int64_t{3});
  expect_error(prefix(), "entry 1 of the document array");
  with(74, int64_t{1});
  expect_error(prefix(), "entry 2 of the document array");
  write(bin, good + std::string("\0\1", 2));
  expect_error(prefix(), "sequence 1 is not text");
  write(bin, good + std::string(2, '\0'));
  EXPECT_NO_THROW(IndexedDataset{prefix()});
  write(bin + "xx", good);
  expect_error(prefix(), "do not belong together");
  write(bin.substr(2), good);
  expect_error(prefix(), "lies outside");
  write(bin, index_bytes(8, {}, {}, {}));
  expect_error(prefix(), "no document array");
}

TEST_F(IndexedDatasetTest, SequencesMayLieInAnyOrder) {
  write(std::string("\1\0\2\0\3\0", 6), index_bytes(8, {1, 2}, {4, 0}, {0, 2}));
  const IndexedDataset data(prefix());
  EXPECT_EQ(all_of(data, 0), std::vector<int32_t>{3});
  EXPECT_EQ(all_of(data, 1), (std::vector<int32_t>{1, 2}));
}

// Whatever the bytes, the answer is a dataset whose every sequence can be read, or an Error.
TEST_F(IndexedDatasetTest, DamagedFilesNeverReadOutside) {
  std::vector<int32_t> lengths, tokens;
  {
    IndexedDatasetWriter writer(prefix(), TokenType::u16);
    for (int d = 0; d < 20; ++d) writer.add_document(std::vector<int32_t>(static_cast<size_t>(d % 5), d));
    writer.commit();
  }
  const std::string bin = read_file(bin_path(prefix())), idx = read_file(idx_path(prefix()));
  const auto try_out = [&](const std::string& b, const std::string& i) {
    std::ofstream(bin_path(prefix()), std::ios::binary) << b;
    std::ofstream(idx_path(prefix()), std::ios::binary) << i;
    try {
      const IndexedDataset data(prefix());
      for (int64_t d = 0; d < data.num_documents(); ++d)
        for (int64_t s = data.document_begin(d); s < data.document_begin(d + 1); ++s) all_of(data, s);
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  EXPECT_TRUE(try_out(bin, idx));
  for (size_t n = 0; n < idx.size(); n += n < 40 ? 3 : 17) EXPECT_FALSE(try_out(bin, idx.substr(0, n))) << n;
  for (size_t n = 0; n < bin.size(); n += 9) EXPECT_FALSE(try_out(bin.substr(0, n), idx)) << n;
  Philox random(11);
  for (int round = 0; round < 150; ++round) {
    std::string damaged = idx;
    for (uint64_t k = random.next_below(4) + 1; k > 0; --k)
      damaged[random.next_below(damaged.size())] = static_cast<char>(random.next_below(256));
    try_out(bin, damaged);
  }
}

TEST_F(IndexedDatasetTest, TokensThatDoNotFitAreRefused) {
  IndexedDatasetWriter writer(prefix(), TokenType::u16);
  EXPECT_THROW(writer.add_sequence(std::vector<int32_t>{65536}), Error);
  EXPECT_THROW(writer.add_sequence(std::vector<int32_t>{-1}), Error);
  EXPECT_EQ(token_type_for(65499), TokenType::u16);
  EXPECT_EQ(token_type_for(65500), TokenType::i32);
}

TEST_F(IndexedDatasetTest, AnUnfinishedWriteLeavesNothing) {
  { IndexedDatasetWriter(prefix(), TokenType::i32).add_document(std::vector<int32_t>{1}); }
  EXPECT_TRUE(fs::is_empty(directory_.path()));
}

TEST_F(IndexedDatasetTest, ASecondWriterIsRefused) {
  IndexedDatasetWriter first(prefix(), TokenType::i32);
  EXPECT_THROW(IndexedDatasetWriter(prefix(), TokenType::i32), Error);
}

TEST_F(IndexedDatasetTest, AWriterGoesOnWhereItWasMadeDurable) {
  DatasetPosition position;
  const auto document = [](int d) { return std::vector<int32_t>(static_cast<size_t>(d % 7), d); };
  {
    IndexedDatasetWriter writer(prefix(), TokenType::i32, {.keep_parts = true});
    for (int d = 0; d < 10; ++d) writer.add_document(document(d));
    position = writer.sync();
    for (int d = 0; d < 5; ++d) writer.add_document(document(100));  // lost: after the sync
    writer.sync();
  }
  {
    IndexedDatasetWriter writer(prefix(), TokenType::i32, {.keep_parts = true}, position);
    for (int d = 10; d < 20; ++d) writer.add_document(document(d));
    writer.commit();
  }
  const IndexedDataset data(prefix());
  ASSERT_EQ(data.num_documents(), 20);
  for (int d = 0; d < 20; ++d) EXPECT_EQ(all_of(data, d), document(d));
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_.path()), {}), 2);
}

TEST_F(IndexedDatasetTest, ADeathBetweenTheTwoRenamesIsMended) {
  DatasetPosition position;
  {
    IndexedDatasetWriter writer(prefix(), TokenType::i32, {.keep_parts = true});
    writer.add_document(std::vector<int32_t>{1, 2, 3});
    position = writer.sync();
  }
  fs::rename(prefix("d.bin.part"), prefix("d.bin"));
  IndexedDatasetWriter(prefix(), TokenType::i32, {.keep_parts = true}, position).commit();
  EXPECT_EQ(all_of(IndexedDataset(prefix()), 0), (std::vector<int32_t>{1, 2, 3}));
}

TEST_F(IndexedDatasetTest, MergeAppendsAndWidens) {
  IndexedDatasetWriter a(prefix("a"), TokenType::u16), b(prefix("b"), TokenType::i32);
  a.add_sequence(std::vector<int32_t>{1, 2});
  a.add_document(std::vector<int32_t>{3});
  a.end_document();
  a.commit();
  b.add_document(std::vector<int32_t>{70000});
  b.commit();
  const std::vector<IndexedDataset> same = {IndexedDataset(prefix("a")), IndexedDataset(prefix("a"))};
  merge_datasets(same, prefix("aa"));
  EXPECT_EQ(read_file(idx_path(prefix("aa"))), index_bytes(8, {2, 1, 2, 1}, {0, 4, 6, 10}, {0, 2, 2, 4, 4}));
  EXPECT_EQ(read_file(bin_path(prefix("aa"))), read_file(bin_path(prefix("a"))) + read_file(bin_path(prefix("a"))));
  const std::vector<IndexedDataset> mixed = {IndexedDataset(prefix("a")), IndexedDataset(prefix("b"))};
  merge_datasets(mixed, prefix("ab"));
  const IndexedDataset ab(prefix("ab"));
  EXPECT_EQ(ab.token_type(), TokenType::i32);
  EXPECT_EQ(ab.num_documents(), 3);
  EXPECT_EQ(all_of(ab, 0), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(all_of(ab, 2), std::vector<int32_t>{70000});
}

TEST_F(IndexedDatasetTest, ReadsDatatrove) {
  std::string tokens, ends;
  for (const int token : {5, 6, 7, 8, 9}) put(tokens, static_cast<uint16_t>(token));
  for (const int end : {2, 2, 5}) put(ends, static_cast<uint64_t>(end));
  write_file_atomic(prefix("t.ds"), tokens);
  expect_error(prefix("t.ds"), "t.ds.index does not exist");
  write_file_atomic(prefix("t.ds.index"), ends);
  const IndexedDataset data(prefix("t.ds"));
  EXPECT_EQ(data.num_documents(), 3);
  EXPECT_EQ(all_of(data, 0), (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(data.length(1), 0);
  EXPECT_EQ(all_of(data, 2), (std::vector<int32_t>{7, 8, 9}));
  write_file_atomic(prefix("t.ds"), tokens + tokens);  // five tokens of four bytes
  const IndexedDataset wide(prefix("t.ds"));
  EXPECT_EQ(wide.token_type(), TokenType::u32);
  EXPECT_EQ(all_of(wide, 0), (std::vector<int32_t>{5 + (6 << 16), 7 + (8 << 16)}));
  write_file_atomic(prefix("t.ds"), tokens + "x");
  expect_error(prefix("t.ds"), "do not belong together");
  std::string falling;
  for (const uint64_t end : {uint64_t{3}, uint64_t{2}}) put(falling, end);
  write_file_atomic(prefix("t.ds.index"), falling);
  expect_error(prefix("t.ds"), "must rise");
}

TEST_F(IndexedDatasetTest, ReadsLlmc) {
  const auto file = [&](int32_t magic, int32_t version, int32_t count, const std::string& body) {
    std::string out;
    put(out, magic), put(out, version), put(out, count);
    out.resize(1024);
    write_file_atomic(prefix("llmc.bin"), out + body);
  };
  file(20240520, 1, 3, std::string("\1\0\2\0\3\1", 6));
  const IndexedDataset data(prefix("llmc.bin"));
  EXPECT_EQ(data.num_documents(), 1);
  EXPECT_EQ(all_of(data, 0), (std::vector<int32_t>{1, 2, 259}));
  file(20240801, 7, 1, std::string("\0\1\1\0", 4));
  EXPECT_EQ(all_of(IndexedDataset(prefix("llmc.bin")), 0), std::vector<int32_t>{65792});
  file(20240520, 1, 4, std::string("\1\0\2\0\3\1", 6));
  expect_error(prefix("llmc.bin"), "says 4 tokens");
  file(20240520, 2, 3, std::string("\1\0\2\0\3\1", 6));
  expect_error(prefix("llmc.bin"), "version 2");
  file(1, 1, 3, "");
  expect_error(prefix("llmc.bin"), "no llm.c header");
}

}  // namespace
}  // namespace triax
