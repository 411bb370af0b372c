#include "triax/data/indexed_dataset.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "triax/base/error.h"
#include "triax/base/hash.h"

namespace triax {
namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "the formats here are little-endian");

namespace {

constexpr char kMagic[9] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0};
constexpr uint64_t kHeaderBytes = 34;
constexpr int32_t kLlmcGpt2Magic = 20240520, kLlmcLlamaMagic = 20240801;
constexpr uint64_t kLlmcHeaderBytes = 1024;
constexpr size_t kChunkBytes = size_t{64} << 10;
constexpr int64_t kMaxLength = std::numeric_limits<int32_t>::max();

// Nothing in these files is aligned.
template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
T load(const std::byte* array, int64_t i) {
  return load<T>(array + static_cast<size_t>(i) * sizeof(T));
}

bool is_token_code(uint8_t code) { return code >= 1 && code <= 8; }

template <typename T>
void widen(const std::byte* from, std::span<int32_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, from + i * sizeof(T), sizeof(T));
    out[i] = static_cast<int32_t>(value);
  }
}

// Types whose values may lie outside of int32.
template <typename T>
void widen_checked(const std::byte* from, std::span<int32_t> out, const fs::path& path, int64_t sequence) {
  for (size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, from + i * sizeof(T), sizeof(T));
    check(value >= 0 && static_cast<uint64_t>(value) <= static_cast<uint64_t>(kMaxLength),
          "{}: token {} of sequence {} is not a token number; the file is damaged or holds no tokens",
          path.string(), value, sequence);
    out[i] = static_cast<int32_t>(value);
  }
}

}  // namespace

size_t token_bytes(TokenType type) {
  switch (type) {
    case TokenType::u8:
    case TokenType::i8: return 1;
    case TokenType::i16:
    case TokenType::u16: return 2;
    case TokenType::i32:
    case TokenType::u32:
    case TokenType::f32: return 4;
    case TokenType::i64:
    case TokenType::f64: return 8;
  }
  return 0;
}

const char* token_type_name(TokenType type) {
  switch (type) {
    case TokenType::u8: return "uint8";
    case TokenType::i8: return "int8";
    case TokenType::i16: return "int16";
    case TokenType::u16: return "uint16";
    case TokenType::i32: return "int32";
    case TokenType::u32: return "uint32";
    case TokenType::f32: return "float32";
    case TokenType::i64: return "int64";
    case TokenType::f64: return "float64";
  }
  return "?";
}

TokenType token_type_for(int64_t vocab_size) {
  check(vocab_size > 0, "a vocabulary of {} tokens cannot be packed", vocab_size);
  return vocab_size < 65500 ? TokenType::u16 : TokenType::i32;
}

namespace {

fs::path prefix_of(const fs::path& path) {
  fs::path prefix = path;
  if (path.extension() == ".bin" || path.extension() == ".idx") prefix.replace_extension();
  return prefix;
}

}  // namespace

fs::path bin_path(const fs::path& path) { return prefix_of(path).string() + ".bin"; }
fs::path idx_path(const fs::path& path) { return prefix_of(path).string() + ".idx"; }

struct IndexedDataset::State {
  fs::path path;
  RandomAccessFile bin;
  MappedFile idx;
  TokenType type = TokenType::u16;
  size_t item = 2;
  int64_t sequences = 0, documents = 0, tokens = 0;
  // Megatron: views into idx.
  const std::byte* lengths = nullptr;    // int32 [sequences]
  const std::byte* pointers = nullptr;   // int64 [sequences]
  const std::byte* document_array = nullptr;  // int64 [documents + 1]
  // datatrove: uint64 [documents], where each ends, in tokens.
  const std::byte* ends = nullptr;
  // llm.c: one document, after a header.
  uint64_t header = 0;

  explicit State(const fs::path& given);

  int64_t length_of(int64_t i) const {
    if (lengths) return load<int32_t>(lengths, i);
    if (ends) return static_cast<int64_t>(load<uint64_t>(ends, i) - (i > 0 ? load<uint64_t>(ends, i - 1) : 0));
    return tokens;
  }
  // Where sequence i begins in bin, in bytes.
  uint64_t begin_of(int64_t i) const {
    if (pointers) return static_cast<uint64_t>(load<int64_t>(pointers, i));
    if (ends) return i > 0 ? load<uint64_t>(ends, i - 1) * item : 0;
    return header;
  }
  void widen_tokens(const std::byte* from, std::span<int32_t> out, int64_t sequence) const;

 private:
  void open_megatron();
  void check_megatron_header();
  void check_megatron_sequences();
  void check_megatron_documents();
  void check_modes();
  void open_datatrove();
  void open_llmc();
};

IndexedDataset::State::State(const fs::path& given) : path(given) {
  std::error_code ignored;
  if (given.extension() == ".ds") {
    open_datatrove();
  } else if (given.extension() == ".bin" && fs::exists(given, ignored) &&
             !fs::exists(idx_path(given), ignored)) {
    open_llmc();
  } else {
    open_megatron();
  }
}

void IndexedDataset::State::open_megatron() {
  for (const fs::path& file : {idx_path(path), bin_path(path)}) {
    std::error_code ignored;
    check(fs::exists(file, ignored),
          "{} does not exist; a dataset is two files, {} and {}: give their common part, and make them "
          "with `triax pack`",
          file.string(), bin_path(path).filename().string(), idx_path(path).filename().string());
  }
  path = prefix_of(path);
  idx = MappedFile(idx_path(path));
  idx.populate();  // all of it is checked below
  bin = RandomAccessFile(bin_path(path));
  check_megatron_header();
  check_megatron_sequences();
  check_megatron_documents();
  check_modes();
}

void IndexedDataset::State::check_megatron_header() {
  const std::string name = idx.path().string();
  const std::byte* bytes = idx.bytes().data();
  check(idx.size() >= kHeaderBytes, "{}: {} bytes are too few for the header of an index ({}); pack the data again",
        name, idx.size(), kHeaderBytes);
  check(std::memcmp(bytes, kMagic, sizeof kMagic) == 0,
        "{}: does not begin with MMIDIDX, so it is no Megatron index (the older TNTIDX format is not "
        "read); pack the data with `triax pack`", name);
  const auto version = load<uint64_t>(bytes + 9);
  check(version == 1, "{}: version {} of the format is not known, only 1", name, version);
  const auto code = load<uint8_t>(bytes + 17);
  check(is_token_code(code), "{}: token type code {} at byte 17 is not one of 1 to 8; the file is damaged", name, code);
  type = static_cast<TokenType>(code);
  check(type != TokenType::f32 && type != TokenType::f64, "{}: holds {} values, not tokens", name,
        token_type_name(type));
  item = token_bytes(type);
  const auto s = load<uint64_t>(bytes + 18), d = load<uint64_t>(bytes + 26);
  const uint64_t room = idx.size() - kHeaderBytes;
  // Divisions, so that no product of untrusted numbers can overflow.
  check(s <= room / 12 && d <= (room - 12 * s) / 8 &&
            (room == 12 * s + 8 * d || room == 13 * s + 8 * d),
        "{}: {} sequences and {} document entries do not fit its size of {} bytes; the file is cut "
        "short or damaged: copy it again or pack the data again",
        name, s, d, idx.size());
  check(d >= 1, "{}: has no document array; the file is damaged", name);
  sequences = static_cast<int64_t>(s);
  documents = static_cast<int64_t>(d) - 1;
  lengths = bytes + kHeaderBytes;
  pointers = lengths + 4 * s;
  document_array = pointers + 8 * s;
}

void IndexedDataset::State::check_megatron_sequences() {
  const uint64_t bin_items = bin.size() / item;
  uint64_t end = 0;
  for (int64_t i = 0; i < sequences; ++i) {
    const auto length = load<int32_t>(lengths, i);
    const auto pointer = load<int64_t>(pointers, i);
    check(length >= 0, "{}: sequence {} has the length {}; the file is damaged", idx.path().string(), i, length);
    const auto bytes = static_cast<uint64_t>(length) * item;
    const bool inside = pointer >= 0 && static_cast<uint64_t>(pointer) <= bin.size() &&
                        bytes <= bin.size() - static_cast<uint64_t>(pointer);
    check(inside,
          "{}: sequence {} ({} tokens of {} at byte {}) lies outside of {}, which has {} bytes; the two "
          "files do not belong together or one is cut short: copy them again or pack the data again",
          idx.path().string(), i, length, token_type_name(type), pointer, bin.path().string(), bin.size());
    end = std::max(end, static_cast<uint64_t>(pointer) + bytes);
    tokens += length;
  }
  check(end == bin.size() && bin.size() % item == 0,
        "{}: has {} bytes ({} tokens of {}), but {} describes {}; the two files do not belong together: "
        "copy them again or pack the data again",
        bin.path().string(), bin.size(), bin_items, token_type_name(type), idx.path().string(), end);
}

void IndexedDataset::State::check_megatron_documents() {
  int64_t previous = 0;
  for (int64_t d = 0; d <= documents; ++d) {
    const auto begin = load<int64_t>(document_array, d);
    const bool right = (d == 0 ? begin == 0 : begin >= previous) && begin <= sequences &&
                       (d < documents || begin == sequences);
    check(right,
          "{}: entry {} of the document array is {} (after {}, of {} sequences); the entries must rise "
          "from 0 to the number of sequences: the file is damaged, pack the data again",
          idx.path().string(), d, begin, previous, sequences);
    previous = begin;
  }
}

void IndexedDataset::State::check_modes() {
  const auto modes = idx.bytes().subspan(static_cast<size_t>(kHeaderBytes + 12 * static_cast<uint64_t>(sequences) +
                                                             8 * static_cast<uint64_t>(documents + 1)));
  const auto other = std::find_if(modes.begin(), modes.end(), [](std::byte mode) { return mode != std::byte{0}; });
  check(other == modes.end(), "{}: sequence {} is not text (mode {}); multimodal datasets are not supported",
        idx.path().string(), other - modes.begin(),
        other == modes.end() ? 0 : static_cast<int>(*other));
}

void IndexedDataset::State::open_datatrove() {
  const fs::path index = path.string() + ".index";
  std::error_code ignored;
  check(fs::exists(index, ignored), "{} does not exist; a datatrove dataset is {} with this index beside it",
        index.string(), path.string());
  bin = RandomAccessFile(path);
  idx = MappedFile(index);
  idx.populate();
  check(idx.size() % 8 == 0, "{}: {} bytes are not a whole number of 8-byte entries; the file is cut short",
        index.string(), idx.size());
  sequences = documents = static_cast<int64_t>(idx.size() / 8);
  ends = idx.bytes().data();
  uint64_t previous = 0;
  for (int64_t i = 0; i < sequences; ++i) {
    const auto end = load<uint64_t>(ends, i);
    check(end >= previous && end <= bin.size() && end - previous <= static_cast<uint64_t>(kMaxLength),
          "{}: entry {} is {} after {}, but the ends of documents must rise within the {} bytes of {}; "
          "the file is damaged",
          index.string(), i, end, previous, bin.size(), path.string());
    previous = end;
  }
  tokens = static_cast<int64_t>(previous);
  // The size of a token is nowhere in the binary files, but it follows from their sizes.
  item = previous == 0 ? 2 : bin.size() / previous;
  check(bin.size() == previous * item && (item == 2 || item == 4),
        "{}: {} bytes for the {} tokens of {} are neither 2 nor 4 each; the two files do not belong together",
        path.string(), bin.size(), previous, index.string());
  type = item == 2 ? TokenType::u16 : TokenType::u32;
}

void IndexedDataset::State::open_llmc() {
  bin = RandomAccessFile(path);
  std::array<std::byte, 12> bytes{};
  if (bin.size() >= kLlmcHeaderBytes) bin.read(0, bytes.data(), bytes.size());
  const auto magic = load<int32_t>(bytes.data());
  check(magic == kLlmcGpt2Magic || magic == kLlmcLlamaMagic,
        "{}: there is no {} beside it, and it has no llm.c header either; give a dataset made with `triax "
        "pack`", path.string(), idx_path(path).filename().string());
  type = magic == kLlmcGpt2Magic ? TokenType::u16 : TokenType::u32;
  item = token_bytes(type);
  const auto version = load<int32_t>(bytes.data() + 4), expected = magic == kLlmcGpt2Magic ? 1 : 7;
  check(version == expected, "{}: version {} of the llm.c format is not known, only {}", path.string(), version, expected);
  const auto count = load<int32_t>(bytes.data() + 8);
  check(count >= 0 && bin.size() == kLlmcHeaderBytes + static_cast<uint64_t>(count) * item,
        "{}: the header says {} tokens, which does not fit its size of {} bytes; the file is cut short or damaged",
        path.string(), count, bin.size());
  tokens = count;
  sequences = documents = 1;
  header = kLlmcHeaderBytes;
}

IndexedDataset::IndexedDataset(const fs::path& path) : state_(std::make_shared<const State>(path)) {}

int64_t IndexedDataset::num_sequences() const { return state_->sequences; }
int64_t IndexedDataset::num_documents() const { return state_->documents; }
int64_t IndexedDataset::num_tokens() const { return state_->tokens; }
TokenType IndexedDataset::token_type() const { return state_->type; }
const fs::path& IndexedDataset::path() const { return state_->path; }

int32_t IndexedDataset::length(int64_t i) const { return static_cast<int32_t>(state_->length_of(i)); }

int64_t IndexedDataset::document_begin(int64_t d) const {
  return state_->document_array ? load<int64_t>(state_->document_array, d) : d;
}

void IndexedDataset::append_raw(int64_t i, std::vector<std::byte>& out) const {
  const State& s = *state_;
  check(i >= 0 && i < s.sequences, "{}: there is no sequence {}, only {}", s.path.string(), i, s.sequences);
  const size_t before = out.size(), bytes = static_cast<size_t>(s.length_of(i)) * s.item;
  out.resize(before + bytes);
  s.bin.read(s.begin_of(i), out.data() + before, bytes);
}

void IndexedDataset::read(int64_t i, int64_t offset, std::span<int32_t> out) const {
  const State& s = *state_;
  check(i >= 0 && i < s.sequences, "{}: there is no sequence {}, only {}", s.path.string(), i, s.sequences);
  const auto count = static_cast<int64_t>(out.size());
  const int64_t length = s.length_of(i);
  check(offset >= 0 && offset <= length && count <= length - offset,
        "{}: tokens {} to {} of sequence {} were asked for, which has {}", s.path.string(), offset,
        offset + count, i, length);
  std::array<std::byte, kChunkBytes> chunk;
  uint64_t at = s.begin_of(i) + static_cast<uint64_t>(offset) * s.item;
  while (!out.empty()) {
    const auto part = out.first(std::min(out.size(), chunk.size() / s.item));
    s.bin.read(at, chunk.data(), part.size() * s.item);
    s.widen_tokens(chunk.data(), part, i);
    at += part.size() * s.item;
    out = out.subspan(part.size());
  }
}

void IndexedDataset::State::widen_tokens(const std::byte* from, std::span<int32_t> out, int64_t sequence) const {
  switch (type) {
    case TokenType::u16: return widen<uint16_t>(from, out);
    case TokenType::u8: return widen<uint8_t>(from, out);
    case TokenType::i32: return widen<int32_t>(from, out);
    case TokenType::i8: return widen<int8_t>(from, out);
    case TokenType::i16: return widen<int16_t>(from, out);
    case TokenType::u32: return widen_checked<uint32_t>(from, out, path, sequence);
    case TokenType::i64: return widen_checked<int64_t>(from, out, path, sequence);
    case TokenType::f32:
    case TokenType::f64: break;  // refused when the dataset was opened
  }
  fail("{}: holds no tokens", path.string());
}

uint64_t IndexedDataset::index_hash() const {
  const State& s = *state_;
  Hasher hasher;
  const auto code = static_cast<uint64_t>(s.type);
  hasher.update(&code, sizeof code);
  hasher.update(s.idx.bytes().data(), s.idx.size());
  hasher.update(&s.tokens, sizeof s.tokens);
  return hasher.digest();
}

}  // namespace triax
