#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>

#include "triax/base/error.h"
#include "triax/data/indexed_dataset.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

// A file that grows at its end, can be cut back to where it was, and keeps its name: what a resumed
// run needs and an anonymous temporary cannot give. Locked against a second process.
class PartFile {
 public:
  PartFile(fs::path path, uint64_t keep_bytes) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd_ < 0) fail_errno("cannot create");
    try {
      check(::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK,
            "{}: another process is writing this dataset; wait for it or choose another output", path_.string());
      struct stat info{};
      if (::fstat(fd_, &info) != 0) fail_errno("cannot examine");
      check(static_cast<uint64_t>(info.st_size) >= keep_bytes,
            "{}: has {} bytes, but {} were written before; the unfinished output is damaged: delete it "
            "and start again", path_.string(), info.st_size, keep_bytes);
      if (::ftruncate(fd_, static_cast<off_t>(keep_bytes)) != 0) fail_errno("cannot shorten");
      if (::lseek(fd_, 0, SEEK_END) < 0) fail_errno("cannot seek in");
    } catch (...) {
      ::close(fd_);
      throw;
    }
    buffer_.reserve(kBufferBytes);
  }
  ~PartFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  void append(const void* data, size_t bytes) {
    if (buffer_.size() + bytes > kBufferBytes) flush();
    if (bytes >= kBufferBytes) {
      write_all(static_cast<const char*>(data), bytes);
    } else {
      buffer_.append(static_cast<const char*>(data), bytes);
    }
  }
  void flush() {
    write_all(buffer_.data(), buffer_.size());
    buffer_.clear();
  }
  void sync() {
    flush();
    if (::fdatasync(fd_) != 0) fail_errno("cannot fsync");
  }
  const fs::path& path() const { return path_; }

 private:
  [[noreturn]] void fail_errno(const char* what) const {
    fail("{} {}: {}", what, path_.string(), std::strerror(errno));
  }
  void write_all(const char* data, size_t bytes) {
    while (bytes > 0) {
      const ssize_t n = ::write(fd_, data, bytes);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail_errno("cannot write");
      data += n;
      bytes -= static_cast<size_t>(n);
    }
  }
  fs::path path_;
  std::string buffer_;
  int fd_ = -1;
};

template <typename T>
void encode_as(std::span<const int32_t> tokens, std::byte* out) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const T value = static_cast<T>(tokens[i]);
    std::memcpy(out + i * sizeof(T), &value, sizeof(T));
  }
}

}  // namespace

void encode_tokens(std::span<const int32_t> tokens, TokenType type, std::vector<std::byte>& out) {
  check(type == TokenType::u16 || type == TokenType::i32, "tokens are written as uint16 or int32, not {}",
        token_type_name(type));
  const int32_t largest = type == TokenType::u16 ? 65535 : std::numeric_limits<int32_t>::max();
  for (const int32_t token : tokens)
    check(token >= 0 && token <= largest, "token {} does not fit a dataset of {}", token, token_type_name(type));
  const size_t before = out.size();
  out.resize(before + tokens.size() * token_bytes(type));
  if (type == TokenType::u16) {
    encode_as<uint16_t>(tokens, out.data() + before);
  } else {
    encode_as<int32_t>(tokens, out.data() + before);
  }
}

struct IndexedDatasetWriter::State {
  fs::path prefix;
  TokenType type;
  Options options;
  DatasetPosition position;
  uint64_t open_sequences = 0;  // of the document that end_document() will close
  bool committed = false;
  // A process that died between the two renames of commit() left the final .bin behind.
  bool bin_is_final = false;
  std::optional<PartFile> bin, lengths, documents;
  std::vector<std::byte> scratch;

  State(const fs::path& given, TokenType token_type, Options writer_options, const DatasetPosition& from)
      : prefix(given), type(token_type), options(writer_options), position(from) {
    check(type == TokenType::u16 || type == TokenType::i32, "datasets are written as uint16 or int32, not {}",
          token_type_name(type));
    if (prefix.has_parent_path()) fs::create_directories(prefix.parent_path());
    const uint64_t bytes = position.tokens * token_bytes(type);
    lengths.emplace(part(".idx.lengths"), 4 * position.sequences);
    documents.emplace(part(".idx.documents"), 8 * position.documents);
    std::error_code error;
    bin_is_final = position.tokens > 0 && !fs::exists(part(".bin"), error) &&
                   fs::file_size(prefix.string() + ".bin", error) == bytes && !error;
    if (!bin_is_final) bin.emplace(part(".bin"), bytes);
  }

  fs::path part(const char* what) const { return prefix.string() + what + ".part"; }

  void write_index(FileWriter& out);
};

IndexedDatasetWriter::IndexedDatasetWriter(const fs::path& prefix, TokenType type)
    : IndexedDatasetWriter(prefix, type, Options{}) {}
IndexedDatasetWriter::IndexedDatasetWriter(const fs::path& prefix, TokenType type, Options options)
    : IndexedDatasetWriter(prefix, type, options, DatasetPosition{}) {}
IndexedDatasetWriter::IndexedDatasetWriter(const fs::path& prefix, TokenType type, Options options,
                                           const DatasetPosition& position)
    : state_(std::make_unique<State>(prefix, type, options, position)) {}

IndexedDatasetWriter::~IndexedDatasetWriter() {
  State& s = *state_;
  if (s.committed || s.options.keep_parts) return;
  std::error_code ignored;
  for (const char* what : {".bin", ".idx.lengths", ".idx.documents"}) fs::remove(s.part(what), ignored);
}

const DatasetPosition& IndexedDatasetWriter::position() const { return state_->position; }

void IndexedDatasetWriter::add_sequence(std::span<const int32_t> tokens) {
  State& s = *state_;
  s.scratch.clear();
  encode_tokens(tokens, s.type, s.scratch);
  check(tokens.size() <= static_cast<size_t>(std::numeric_limits<int32_t>::max()),
        "a sequence of {} tokens is longer than a dataset can hold; split the document", tokens.size());
  const auto length = static_cast<int32_t>(tokens.size());
  s.bin->append(s.scratch.data(), s.scratch.size());
  s.lengths->append(&length, sizeof length);
  s.position.tokens += tokens.size();
  ++s.position.sequences;
  ++s.open_sequences;
}

void IndexedDatasetWriter::end_document() {
  State& s = *state_;
  s.documents->append(&s.position.sequences, sizeof s.position.sequences);
  ++s.position.documents;
  s.open_sequences = 0;
}

void IndexedDatasetWriter::add_block(std::span<const std::byte> tokens, std::span<const int32_t> lengths,
                                     std::span<const int32_t> sequences_of_documents) {
  State& s = *state_;
  if (lengths.empty() && sequences_of_documents.empty()) return;
  check(s.open_sequences == 0, "a block of documents cannot begin within a document");
  uint64_t total = 0;
  for (const int32_t length : lengths) total += static_cast<uint64_t>(length);
  check(tokens.size() == total * token_bytes(s.type), "a block of {} bytes does not hold {} tokens", tokens.size(), total);
  s.bin->append(tokens.data(), tokens.size());
  s.lengths->append(lengths.data(), lengths.size_bytes());
  s.position.tokens += total;
  const auto end_one = [&](int32_t sequences) {
    s.position.sequences += static_cast<uint64_t>(sequences);
    s.documents->append(&s.position.sequences, sizeof s.position.sequences);
    ++s.position.documents;
  };
  if (sequences_of_documents.empty()) {
    for (size_t i = 0; i < lengths.size(); ++i) end_one(1);
  } else {
    const auto sum = std::accumulate(sequences_of_documents.begin(), sequences_of_documents.end(), int64_t{0});
    check(static_cast<size_t>(sum) == lengths.size(), "a block of {} sequences has documents of {} in all",
          lengths.size(), sum);
    for (const int32_t sequences : sequences_of_documents) end_one(sequences);
  }
}

DatasetPosition IndexedDatasetWriter::sync() {
  State& s = *state_;
  check(s.open_sequences == 0, "the last document has not been ended");
  if (s.bin) s.bin->sync();
  s.lengths->sync();
  s.documents->sync();
  return s.position;
}

void IndexedDatasetWriter::State::write_index(FileWriter& out) {
  constexpr char kMagic[9] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0};
  const uint64_t version = 1, entries = position.documents + 1;
  out.write(kMagic, sizeof kMagic);
  out.write(&version, sizeof version);
  out.write(&type, 1);
  out.write(&position.sequences, 8);
  out.write(&entries, 8);
  const MappedFile length_file(lengths->path()), document_file(documents->path());
  length_file.populate();
  out.write(length_file.bytes().data(), length_file.size());
  int64_t pointer = 0;
  for (uint64_t i = 0; i < position.sequences; ++i) {
    int32_t length;
    std::memcpy(&length, length_file.bytes().data() + 4 * i, sizeof length);
    out.write(&pointer, sizeof pointer);
    pointer += static_cast<int64_t>(length) * static_cast<int64_t>(token_bytes(type));
  }
  const int64_t zero = 0;
  out.write(&zero, sizeof zero);
  out.write(document_file.bytes().data(), document_file.size());
}

void IndexedDatasetWriter::commit() {
  State& s = *state_;
  sync();
  FileWriter index(s.prefix.string() + ".idx");
  s.write_index(index);
  if (s.bin) rename_durable(s.bin->path(), s.prefix.string() + ".bin");
  index.commit();
  s.committed = true;
  std::error_code ignored;
  fs::remove(s.lengths->path(), ignored);
  fs::remove(s.documents->path(), ignored);
}

namespace {

constexpr size_t kCopyBytes = size_t{8} << 20;

bool writable(TokenType type) { return type == TokenType::u16 || type == TokenType::i32; }

// Documents in blocks of some megabytes.
void copy_documents(const IndexedDataset& input, int64_t begin, int64_t end, TokenType type, IndexedDatasetWriter& writer) {
  std::vector<int32_t> tokens, lengths, sequences;
  std::vector<std::byte> bytes;
  const auto write = [&] {
    writer.add_block(bytes, lengths, sequences);
    bytes.clear(), lengths.clear(), sequences.clear();
  };
  for (int64_t d = begin; d < end; ++d) {
    for (int64_t i = input.document_begin(d); i < input.document_begin(d + 1); ++i) {
      lengths.push_back(input.length(i));
      if (input.token_type() == type) {
        input.append_raw(i, bytes);
      } else {
        tokens.resize(static_cast<size_t>(input.length(i)));
        input.read(i, 0, tokens);
        encode_tokens(tokens, type, bytes);
      }
    }
    sequences.push_back(static_cast<int32_t>(input.document_begin(d + 1) - input.document_begin(d)));
    if (bytes.size() >= kCopyBytes) write();
  }
  write();
}

}  // namespace

void merge_datasets(std::span<const IndexedDataset> inputs, const fs::path& prefix) {
  check(!inputs.empty(), "there is nothing to merge");
  TokenType type = inputs[0].token_type();
  for (const IndexedDataset& input : inputs)
    if (input.token_type() != type || !writable(type)) type = TokenType::i32;
  IndexedDatasetWriter writer(prefix, type);
  for (const IndexedDataset& input : inputs) copy_documents(input, 0, input.num_documents(), type, writer);
  writer.commit();
}

void extract_documents(const IndexedDataset& input, int64_t begin, int64_t end, const fs::path& prefix) {
  check(begin >= 0 && begin <= end && end <= input.num_documents(), "{}: documents {} to {} were asked for, of {}",
        input.path().string(), begin, end, input.num_documents());
  const TokenType type = writable(input.token_type()) ? input.token_type() : TokenType::i32;
  IndexedDatasetWriter writer(prefix, type);
  copy_documents(input, begin, end, type, writer);
  writer.commit();
}

}  // namespace triax
