#include "triax/data/bert_index.h"

#include <fmt/format.h>

#include "triax/base/hash.h"
#include "triax/data/index_file.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr const char* kBertMagic = "TRXBERT1";
static_assert(sizeof(BertRow) == 12);

}  // namespace

std::string describe_bert_index(const IndexedDataset& data, const BertDatasetOptions& options) {
  return fmt::format("triax bert index 1; dataset {} of {} sentences, {} documents; documents {} {}; samples {}; length {}; seed {}; short {:.17g}",
                     hex64(data.index_hash()), data.num_sequences(), data.num_documents(), options.documents.begin,
                     options.documents.end, options.num_samples, options.seq_length, options.seed, options.short_probability);
}

void write_bert_index(const fs::path& path, const std::string& description, std::span<const BertRow> rows,
                      int64_t samples_of_an_epoch) {
  const uint64_t numbers[] = {rows.size(), static_cast<uint64_t>(samples_of_an_epoch)};
  write_index_file(path, kBertMagic, numbers, description, {std::as_bytes(rows)});
}

std::optional<MappedBertIndex> open_bert_index(const fs::path& path, const std::string& description) {
  auto file = open_index_file(path, kBertMagic, {sizeof(BertRow), 0}, description);
  if (!file) return std::nullopt;
  MappedBertIndex index;
  index.samples_of_an_epoch = static_cast<int64_t>(file->numbers[1]);
  index.rows = {reinterpret_cast<const BertRow*>(file->arrays), file->numbers[0]};
  index.file = std::move(file->file);
  return index;
}

}  // namespace triax
