#include "triax/data/bert_index.h"

#include <cstring>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/log.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

// The file: this header, the description padded to 8 bytes, rows.
constexpr char kMagic[8] = {'T', 'R', 'X', 'B', 'E', 'R', 'T', '1'};

struct FileHeader {
  char magic[8];
  uint64_t checksum;  // of all that follows this field
  uint64_t description_bytes, rows, samples_of_an_epoch;
};
constexpr size_t kUnchecked = 16;  // magic and checksum
static_assert(sizeof(FileHeader) == 40 && sizeof(BertRow) == 12);

uint64_t padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

}  // namespace

std::string describe_bert_index(const IndexedDataset& data, const BertDatasetOptions& options) {
  return fmt::format("triax bert index 1; dataset {} of {} sentences, {} documents; documents {} {}; samples {}; length {}; seed {}; short {:.17g}",
                     hex64(data.index_hash()), data.num_sequences(), data.num_documents(), options.documents.begin,
                     options.documents.end, options.num_samples, options.seq_length, options.seed, options.short_probability);
}

void write_bert_index(const fs::path& path, const std::string& description, std::span<const BertRow> rows,
                      int64_t samples_of_an_epoch) {
  FileHeader header{{}, 0, description.size(), rows.size(), static_cast<uint64_t>(samples_of_an_epoch)};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  const std::string text = description + std::string(padded(description.size()) - description.size(), '\0');
  const auto for_each_part = [&](auto&& use) {
    use(&header.description_bytes, sizeof header - kUnchecked);
    use(text.data(), text.size());
    use(rows.data(), rows.size_bytes());
  };
  Hasher hasher;
  for_each_part([&](const void* data, size_t bytes) { hasher.update(data, bytes); });
  header.checksum = hasher.digest();
  fs::create_directories(path.parent_path());
  FileWriter out(path);
  out.write(&header, kUnchecked);
  for_each_part([&](const void* data, size_t bytes) { out.write(data, bytes); });
  out.commit();
}

std::optional<MappedBertIndex> open_bert_index(const fs::path& path, const std::string& description) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  MappedBertIndex index;
  index.file = MappedFile(path);
  index.file.populate();
  const auto bytes = index.file.bytes();
  const auto refuse = [&](const char* why) {
    log_warning("{}: {}; the index is built again", path.string(), why);
    return std::nullopt;
  };
  FileHeader header;
  if (bytes.size() < sizeof header) return refuse("is cut short");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return refuse("is not an index of triax");
  const uint64_t room = bytes.size() - sizeof header;
  const bool fits = header.description_bytes <= room && padded(header.description_bytes) <= room &&
                    header.rows <= room / sizeof(BertRow) &&
                    padded(header.description_bytes) + header.rows * sizeof(BertRow) == room;
  if (!fits) return refuse("is cut short or damaged");
  if (hash64(bytes.data() + kUnchecked, bytes.size() - kUnchecked) != header.checksum) return refuse("is damaged (wrong checksum)");
  if (index.file.text().substr(sizeof header, header.description_bytes) != description)
    return refuse("is the index of something else");
  index.samples_of_an_epoch = static_cast<int64_t>(header.samples_of_an_epoch);
  index.rows = {reinterpret_cast<const BertRow*>(bytes.data() + sizeof header + padded(header.description_bytes)), header.rows};
  return index;
}

}  // namespace triax
