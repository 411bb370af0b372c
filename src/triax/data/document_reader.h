// Streams of documents from files: JSON lines (one object a line, the text in one of its fields),
// plain text (a file is a document, or documents are separated by blank lines); each plain, gzip or
// zstd, which is told by the content and not by the name.
//
// Reading is in two steps, so that the second can run on many threads: DocumentReader, used by one
// thread, reads, decompresses and cuts the stream into batches of whole records; DocumentParser, one
// a thread, turns a batch into documents. Memory is that of the batches in flight.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace triax {

enum class DocumentFormat {
  automatic,   // by the name, without .gz or .zst: .jsonl .json .ndjson are JSON lines, .txt .text .md text
  jsonl,
  text,        // a file is a document
  paragraphs,  // text with blank lines between documents
};

// "auto", "jsonl", "text", "paragraphs". Throws on other names.
DocumentFormat document_format_from(std::string_view name);

// A place in the input between two records.
struct InputPosition {
  uint64_t file = 0;    // index in the list of files
  uint64_t offset = 0;  // bytes into the file, after decompression
  uint64_t line = 1;    // counted from where reading began
};

// The part of the input that one of several readers takes.
struct InputRange {
  InputPosition begin;
  uint64_t end_file = UINT64_MAX;  // up to end_offset of this file
  uint64_t end_offset = 0;
};

struct DocumentOptions {
  DocumentFormat format = DocumentFormat::automatic;
  std::string field = "text";  // of the JSON object
  // Records that are not JSON, lack the field, are not UTF-8 or are too long are skipped and counted;
  // otherwise the first one is an error.
  bool skip_bad = false;
  uint64_t batch_bytes = uint64_t{1} << 20;
  uint64_t max_document_bytes = uint64_t{64} << 20;
  InputRange range{};
};

// Divides the input among `parts` readers, in order and about evenly: at the ends of files and, where they are JSON
// lines without compression, at the ends of lines.
std::vector<InputRange> divide_input(const std::vector<std::filesystem::path>& files, DocumentFormat format, int parts);

// Lines of a file that end before byte `offset`.
uint64_t lines_before(const std::filesystem::path& file, uint64_t offset);

struct Document {
  std::string_view text;  // valid UTF-8
  const std::filesystem::path& file;
  uint64_t line = 0;    // where it begins, from 1
  uint64_t offset = 0;  // bytes into the file, after decompression
};

// Records left out, and why.
struct BadRecords {
  uint64_t count = 0;
  std::vector<std::string> examples;  // "file:line: reason", the first few

  void add(std::string message);
  void add(const BadRecords& other);
};

// A run of whole records of one file.
struct DocumentBatch {
  uint64_t index = 0;  // 0, 1, 2 ... in the order of the input
  std::shared_ptr<const std::filesystem::path> file;
  DocumentFormat format = DocumentFormat::jsonl;
  InputPosition begin, end;
  uint64_t source_bytes = 0;  // read so far from all files, as they are stored: for progress
  std::string_view text() const { return std::string_view(storage).substr(0, size); }

  std::string storage;  // the records, and behind them what the JSON parser may read beyond its input
  size_t size = 0;
  BadRecords too_long;  // passed over while reading
};

class DocumentReader {
 public:
  // Checks that the files can be read. Begins at options.range.begin.
  DocumentReader(std::vector<std::filesystem::path> files, DocumentOptions options);
  // Goes on from `start`, the `end` of a batch of an earlier run over the same files.
  DocumentReader(std::vector<std::filesystem::path> files, DocumentOptions options, InputPosition start);
  ~DocumentReader();

  // False at the end of the input. `batch` may be used again and again; its memory is kept.
  bool next(DocumentBatch& batch);

  // Size of all files as they are stored, and how much of that has been read.
  uint64_t total_bytes() const { return total_bytes_; }
  uint64_t bytes_read() const;

 private:
  struct Input;
  bool at_end() const;
  bool open_next();
  bool fill();
  uint64_t line_in_file() const;
  size_t record_end(size_t from) const;
  void pass_over_long_record(DocumentBatch& batch);
  void hand_out(DocumentBatch& batch, size_t bytes);

  std::vector<std::filesystem::path> files_;
  DocumentOptions options_;
  InputPosition position_;
  uint64_t next_index_ = 0;
  uint64_t total_bytes_ = 0, bytes_of_closed_files_ = 0;
  std::unique_ptr<Input> input_;
  std::string pending_;  // read but not yet handed out
};

class DocumentParser {
 public:
  explicit DocumentParser(DocumentOptions options);
  ~DocumentParser();

  // Calls `body` for every document of the batch, in order. Documents may be empty (a JSON string
  // without characters). Bad records are added to `bad`, or thrown when they are not to be skipped.
  void parse(const DocumentBatch& batch, const std::function<void(const Document&)>& body, BadRecords& bad);

 private:
  struct Json;
  void parse_jsonl(const DocumentBatch& batch, const std::function<void(const Document&)>& body, BadRecords& bad);
  void parse_paragraphs(const DocumentBatch& batch, const std::function<void(const Document&)>& body, BadRecords& bad);
  void give(std::string_view text, const DocumentBatch& batch, uint64_t line, uint64_t offset,
            const std::function<void(const Document&)>& body, BadRecords& bad);
  void refuse(std::string message, BadRecords& bad) const;
  // A line as it is numbered in the file, also where reading began within it.
  uint64_t line_in_file(const DocumentBatch& batch, uint64_t line);

  DocumentOptions options_;
  uint64_t lines_skipped_ = UINT64_MAX;  // counted when it is needed
  std::unique_ptr<Json> json_;
};

// Every document of the files in order, on this thread. Returns the records left out.
BadRecords for_each_document(const std::vector<std::filesystem::path>& files, const DocumentOptions& options,
                             const std::function<void(const Document&)>& body);

}  // namespace triax
