// Token datasets on disk: Megatron .bin/.idx (read, written, merged), and datatrove .ds and llm.c .bin
// (read).
//
// PREFIX.bin is every token of every sequence back to back; PREFIX.idx gives the type of the tokens,
// the length and place of each sequence, and the first sequence of each document. In a GPT dataset a
// document is one sequence; in a BERT dataset a sequence is a sentence and a document several.
//
// Every error is a triax::Error that names the file, the field and what to do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "triax/base/file.h"

namespace triax {

// The codes of the .idx header.
enum class TokenType : uint8_t { u8 = 1, i8 = 2, i16 = 3, i32 = 4, i64 = 5, f64 = 6, f32 = 7, u16 = 8, u32 = 100 };

size_t token_bytes(TokenType type);
const char* token_type_name(TokenType type);
// What Megatron writes: 16 bits for a vocabulary below 65,500, else 32.
TokenType token_type_for(int64_t vocab_size);

// PREFIX.bin and PREFIX.idx, whether `path` is the prefix or one of the two files.
std::filesystem::path bin_path(const std::filesystem::path& path);
std::filesystem::path idx_path(const std::filesystem::path& path);

// A dataset opened for reading; cheap to copy, safe to read from several threads. The index is mapped,
// tokens are read as they are asked for.
//
// Opening checks everything the files say against the sizes they have, so that no later access can
// fall outside of them.
class IndexedDataset {
 public:
  IndexedDataset() = default;
  // PREFIX, PREFIX.bin or PREFIX.idx; NAME.ds of datatrove (with NAME.ds.index); NAME.bin of llm.c
  // (GPT-2 and Llama 3 variants; the whole file is one document).
  explicit IndexedDataset(const std::filesystem::path& path);

  int64_t num_sequences() const;
  int64_t num_documents() const;
  int64_t num_tokens() const;
  TokenType token_type() const;
  const std::filesystem::path& path() const;

  // Tokens of sequence i.
  int32_t length(int64_t i) const;
  // First sequence of document d; d = num_documents() gives num_sequences().
  int64_t document_begin(int64_t d) const;

  // Tokens [offset, offset + out.size()) of sequence i. Throws when that is not inside the sequence
  // or when a 64-bit token does not fit.
  void read(int64_t i, int64_t offset, std::span<int32_t> out) const;
  // Appends the bytes of sequence i as they are in the file.
  void append_raw(int64_t i, std::vector<std::byte>& out) const;

  // A hash of everything but the tokens: type, lengths, documents. The same for copies of a dataset,
  // wherever they lie.
  uint64_t index_hash() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

// How far a writer is: what has to be remembered to go on after the process died.
struct DatasetPosition {
  uint64_t tokens = 0;
  uint64_t sequences = 0;
  uint64_t documents = 0;
};

// Writes PREFIX.bin and PREFIX.idx as a stream, with memory that does not grow with the dataset.
// Until commit() the data is in PREFIX.bin.part, PREFIX.idx.lengths.part and
// PREFIX.idx.documents.part; a second writer of the same files is refused.
class IndexedDatasetWriter {
 public:
  struct Options {
    // The part files stay when the writer is destroyed before commit(), for a later resume.
    bool keep_parts = false;
  };

  IndexedDatasetWriter(const std::filesystem::path& prefix, TokenType type);
  IndexedDatasetWriter(const std::filesystem::path& prefix, TokenType type, Options options);
  // Goes on at `position`, which sync() returned: what was written after it is dropped.
  IndexedDatasetWriter(const std::filesystem::path& prefix, TokenType type, Options options,
                       const DatasetPosition& position);
  ~IndexedDatasetWriter();
  IndexedDatasetWriter(const IndexedDatasetWriter&) = delete;
  IndexedDatasetWriter& operator=(const IndexedDatasetWriter&) = delete;

  void add_sequence(std::span<const int32_t> tokens);
  void end_document();
  void add_document(std::span<const int32_t> tokens) { add_sequence(tokens), end_document(); }
  // Many sequences at once, their tokens already in the file's type: lengths of the sequences, and
  // sequences of each document (empty: one each).
  void add_block(std::span<const std::byte> tokens, std::span<const int32_t> lengths,
                 std::span<const int32_t> sequences_of_documents);

  const DatasetPosition& position() const;
  // Makes all that was added durable and returns its position. Only between documents.
  DatasetPosition sync();
  // Writes the index, renames .bin, then .idx. Only between documents.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Appends `tokens` to `out` as they lie in a file of `type`. Throws, naming the token, when one does
// not fit.
void encode_tokens(std::span<const int32_t> tokens, TokenType type, std::vector<std::byte>& out);

// Writes the sequences and documents of `inputs`, in that order, to PREFIX.bin and .idx. Keeps the
// token type when all inputs have the same, and else takes 32 bits.
void merge_datasets(std::span<const IndexedDataset> inputs, const std::filesystem::path& prefix);

// Writes documents [begin, end) of a dataset to PREFIX.bin and .idx, with the token type it has.
void extract_documents(const IndexedDataset& input, int64_t begin, int64_t end, const std::filesystem::path& prefix);

}  // namespace triax
