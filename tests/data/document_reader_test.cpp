#include "triax/data/document_reader.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <fstream>

#include "triax/base/error.h"
#include "triax/base/file.h"
#include "triax/base/rng.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

std::string gzip(const std::string& text) {
  z_stream stream{};
  ::deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(::deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(::ZSTD_compressBound(text.size()), '\0');
  out.resize(::ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

struct Found {
  std::string text;
  uint64_t line, offset;
  bool operator==(const Found&) const = default;
};

class DocumentReaderTest : public testing::Test {
 protected:
  fs::path file(const std::string& name, const std::string& content) const {
    std::ofstream(directory_.path() / name, std::ios::binary) << content;
    return directory_.path() / name;
  }
  std::vector<Found> read(const std::vector<fs::path>& files, const DocumentOptions& options = {}) {
    std::vector<Found> found;
    bad_ = for_each_document(files, options, [&](const Document& d) {
      found.push_back({std::string(d.text), d.line, d.offset});
    });
    return found;
  }
  std::vector<std::string> texts(const std::vector<fs::path>& files, const DocumentOptions& options = {}) {
    std::vector<std::string> out;
    for (const Found& f : read(files, options)) out.push_back(f.text);
    return out;
  }
  std::string error_of(const std::vector<fs::path>& files, const DocumentOptions& options = {}) {
    try {
      read(files, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  TemporaryDirectory directory_;
  BadRecords bad_;
};

using Texts = std::vector<std::string>;

TEST_F(DocumentReaderTest, ReadsJsonLines) {
  const auto path = file("a.jsonl", "\xEF\xBB\xBF{\"text\": \"one\"}\r\n\n  \n{\"id\": 3, \"text\": \"caf\\u00e9\\n\", \"x\": [1]}\n{\"text\":\"\"}");
  EXPECT_EQ(read({path}), (std::vector<Found>{{"one", 1, 0}, {"caf\xC3\xA9\n", 4, 24}, {"", 5, 67}}));
}

TEST_F(DocumentReaderTest, SurrogatesComeInPairs) {
  const auto path = file("a.jsonl", "{\"text\": \"\\ud83e\\uDD99 \\u0000\"}\n{\"text\": \"\\ud83e alone\"}\n{\"text\": \"\\udd99\\ud83e\"}\n");
  EXPECT_EQ(texts({path}, {.skip_bad = true}), Texts{std::string("\xF0\x9F\xA6\x99 \0", 6)});
  EXPECT_EQ(bad_.count, 2u);
  EXPECT_NE(error_of({path}).find("a.jsonl:2: not JSON"), std::string::npos) << error_of({path});
}

TEST_F(DocumentReaderTest, TakesTheFieldAskedFor) {
  const auto path = file("a.jsonl", "{\"body\": \"b\", \"text\": \"t\"}\n");
  EXPECT_EQ(texts({path}, {.field = "body"}), Texts{"b"});
  EXPECT_NE(error_of({path}, {.field = "content"}).find("a.jsonl:1: the object has no field \"content\""), std::string::npos);
}

TEST_F(DocumentReaderTest, BadLinesAreNamedOrCounted) {
  const auto path = file("a.jsonl",
                         "{\"text\": \"good\"}\n"
                         "{\"text\": \"cut\n"
                         "[1]\n"
                         "{\"txt\": 1}\n"
                         "{\"text\": 5}\n"
                         "{\"text\": \"\xFF\"}\n"
                         "{\"text\": \"a\"} {\"text\": \"b\"}\n"
                         "{\"text\": \"end\"}\n");
  EXPECT_NE(error_of({path}).find("a.jsonl:2: not JSON"), std::string::npos) << error_of({path});
  EXPECT_EQ(texts({path}, {.skip_bad = true}), (Texts{"good", "end"}));
  EXPECT_EQ(bad_.count, 6u);
  ASSERT_EQ(bad_.examples.size(), 5u);
  EXPECT_NE(bad_.examples[1].find(":3: not a JSON object"), std::string::npos);
  EXPECT_NE(bad_.examples[3].find(":5: the field \"text\" is not a string"), std::string::npos);
  EXPECT_NE(bad_.examples[4].find(":6: not JSON"), std::string::npos);
}

TEST_F(DocumentReaderTest, AFileOfTextIsADocument) {
  const auto a = file("a.txt", "one\n\ntwo\n"), b = file("b.txt", ""), c = file("c.txt", "three");
  EXPECT_EQ(texts({a, b, c}), (Texts{"one\n\ntwo\n", "three"}));
  const auto bad = file("d.txt", "ok\nok\n\xC3(");
  EXPECT_NE(error_of({bad}).find("d.txt:3: not UTF-8 (byte 0xc3)"), std::string::npos) << error_of({bad});
}

TEST_F(DocumentReaderTest, BlankLinesSeparateParagraphs) {
  const std::string text = "\n \none\nmore\n\n\n\ntwo\r\n \t \r\nthree";
  EXPECT_EQ(read({file("a.txt", text)}, {.format = DocumentFormat::paragraphs}),
            (std::vector<Found>{{"one\nmore", 3, 3}, {"two", 8, 15}, {"three", 10, 25}}));
}

TEST_F(DocumentReaderTest, ReadsCompressedFilesWhateverTheirName) {
  const std::string text = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
  const Texts expected = {"one", "two"};
  EXPECT_EQ(texts({file("a.jsonl.gz", gzip(text))}), expected);
  EXPECT_EQ(texts({file("a.jsonl.zst", zstd(text))}), expected);
  EXPECT_EQ(texts({file("a.jsonl", zstd(text))}), expected);
  EXPECT_EQ(texts({file("b.jsonl.gz", gzip(text) + gzip(text))}), (Texts{"one", "two", "one", "two"}));
  EXPECT_EQ(texts({file("b.jsonl.zst", zstd(text) + zstd(text))}), (Texts{"one", "two", "one", "two"}));
  EXPECT_EQ(texts({file("c.jsonl.gz", gzip(""))}), Texts{});
}

TEST_F(DocumentReaderTest, TheNameTellsTheFormat) {
  EXPECT_NE(error_of({file("a.dat", "x")}).find("--format"), std::string::npos);
  EXPECT_EQ(texts({file("a.dat", "x")}, {.format = DocumentFormat::text}), Texts{"x"});
  EXPECT_NE(error_of({directory_.path() / "none.txt"}).find("cannot open"), std::string::npos);
  EXPECT_NE(error_of({directory_.path()}).find("is a folder"), std::string::npos);
  EXPECT_THROW(document_format_from("csv"), Error);
}

// Every size of batch gives the same documents at the same places, and reading can go on after any of
// them.
TEST_F(DocumentReaderTest, BatchesCutNothingAndCanBeResumed) {
  std::string lines, paragraphs;
  Philox random(3);
  for (int i = 0; i < 300; ++i) {
    const std::string word(random.next_below(60) + 1, static_cast<char>('a' + i % 26));
    lines += "{\"text\": \"" + word + "\"}" + (i % 3 ? "\n" : "\r\n") + (i % 11 ? "" : "\n");
    paragraphs += word + "\n" + (i % 4 ? "x\n" : "") + std::string(1 + random.next_below(3), '\n');
  }
  const std::vector<fs::path> files[] = {{file("a.jsonl", lines), file("b.jsonl.gz", gzip(lines)), file("c.jsonl.zst", zstd(lines))},
                                         {file("a.txt", paragraphs), file("b.txt", zstd(paragraphs))}};
  for (const int kind : {0, 1}) {
    DocumentOptions options{.format = kind ? DocumentFormat::paragraphs : DocumentFormat::automatic};
    const auto expected = read(files[kind], options);
    ASSERT_EQ(expected.size(), kind ? 600u : 900u);
    for (const uint64_t batch_bytes : {1, 37, 500, 4096}) {
      options.batch_bytes = batch_bytes;
      std::vector<Found> found;
      DocumentParser parser(options);
      DocumentBatch batch;
      InputPosition position;
      BadRecords bad;
      // A new reader for every batch, as if the process had died after each.
      while (DocumentReader(files[kind], options, position).next(batch)) {
        parser.parse(batch, [&](const Document& d) { found.push_back({std::string(d.text), d.line, d.offset}); }, bad);
        position = batch.end;
      }
      EXPECT_EQ(found, expected) << batch_bytes;
    }
  }
}

TEST_F(DocumentReaderTest, LongDocumentsAreRefusedOrPassedOver) {
  const std::string longer(2000000, 'x');
  const std::string lines = "{\"text\": \"a\"}\n{\"text\": \"" + longer + "\"}\n{\"text\": \"b\"}\n";
  DocumentOptions options{.batch_bytes = 10000, .max_document_bytes = 1000000};
  const auto a = file("a.jsonl", lines), b = file("b.jsonl", "{\"text\": \"" + longer);
  EXPECT_NE(error_of({a}, options).find("a.jsonl:2: a document longer than"), std::string::npos) << error_of({a}, options);
  options.skip_bad = true;
  EXPECT_EQ(read({a, b}, options), (std::vector<Found>{{"a", 1, 0}, {"b", 3, 2000027}}));
  EXPECT_EQ(bad_.count, 2u);
  EXPECT_EQ(texts({file("a.txt", longer), file("b.txt", "short")}, options), Texts{"short"});
  EXPECT_EQ(bad_.count, 1u);
  options.format = DocumentFormat::paragraphs;
  EXPECT_EQ(texts({file("c.txt", "a\n\n" + longer + "\n" + longer + "\n\nb\n\n" + longer)}, options), (Texts{"a", "b"}));
  EXPECT_EQ(bad_.count, 2u);
}

TEST_F(DocumentReaderTest, ProgressCountsStoredBytes) {
  const auto a = file("a.jsonl.gz", gzip("{\"text\": \"one\"}\n")), b = file("b.jsonl", "{\"text\": \"two\"}\n");
  DocumentReader reader({a, b}, {});
  EXPECT_EQ(reader.total_bytes(), fs::file_size(a) + fs::file_size(b));
  DocumentBatch batch;
  while (reader.next(batch)) {
  }
  EXPECT_EQ(reader.bytes_read(), reader.total_bytes());
}

// Whatever the bytes: documents, or one clear Error.
TEST_F(DocumentReaderTest, DamagedInputNeverCrashes) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "{\"text\": \"line " + std::to_string(i * i) + " \\u00e9\", \"meta\": {\"a\": [1, 2.5, null]}}\n";
  Philox random(5);
  int errors = 0;
  const auto try_out = [&](const std::string& name, const std::string& content) {
    try {
      read({file(name, content)}, {.skip_bad = name[0] == 's'});
    } catch (const Error&) {
      ++errors;
    }
  };
  for (const auto& [name, content] : {std::pair{"a.jsonl", text}, {"skip.jsonl", text}, {"a.jsonl.gz", gzip(text)},
                                      {"skip.jsonl.gz", gzip(text)}, {"a.jsonl.zst", zstd(text)}, {"skip.jsonl.zst", zstd(text)}}) {
    const bool compressed = std::string_view(name).find("jsonl.") != std::string_view::npos;
    for (int round = 0; round < 60; ++round) {
      const size_t cut = random.next_below(content.size() - 8) + 5;
      const int before = errors;
      try_out(name, content.substr(0, cut));
      if (compressed) {
        EXPECT_EQ(errors, before + 1) << name << " cut at " << cut << " went unnoticed";
      }
      std::string damaged = content;
      for (uint64_t k = random.next_below(3) + 1; k > 0; --k)
        damaged[random.next_below(damaged.size())] ^= static_cast<char>(1 << random.next_below(8));
      try_out(name, damaged);
    }
  }
  EXPECT_GT(errors, 240);
}

}  // namespace
}  // namespace triax
