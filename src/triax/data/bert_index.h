// Which sentences make which sample of a BERT: the mapping in a file, so that the ranks of a host share it in memory and
// a run that starts again finds it.
#pragma once

#include <span>
#include <string>

#include "triax/data/bert_dataset.h"

namespace triax {

// Rows in a mapped file.
struct MappedBertIndex {
  MappedFile file;
  std::span<const BertRow> rows;
  int64_t samples_of_an_epoch = 0;
};

// All that the rows depend on, as text: the key of the file, and proof that a file is the right one.
std::string describe_bert_index(const IndexedDataset& data, const BertDatasetOptions& options);

void write_bert_index(const std::filesystem::path& path, const std::string& description, std::span<const BertRow> rows,
                      int64_t samples_of_an_epoch);
// Empty when there is no such file; or, with a warning, when it is damaged or of something else.
std::optional<MappedBertIndex> open_bert_index(const std::filesystem::path& path, const std::string& description);

}  // namespace triax
