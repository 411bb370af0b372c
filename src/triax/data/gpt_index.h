// The three arrays of a GPT dataset: building them, and the file that keeps them.
#pragma once

#include <optional>
#include <string>

#include "triax/data/gpt_dataset.h"

namespace triax {

struct GptIndexArrays {
  int64_t epochs = 1;
  std::vector<int32_t> documents;
  std::vector<SampleRow> rows;
  std::vector<uint32_t> shuffle;
};

GptIndexArrays build_gpt_index(const IndexedDataset& data, const GptDatasetOptions& options);

// All that the arrays depend on, as text: the key of the cache, and proof that a file is the right one.
std::string describe_gpt_index(const IndexedDataset& data, const GptDatasetOptions& options);

// The arrays as they lie in a mapped file.
struct MappedGptIndex {
  MappedFile file;
  int64_t epochs = 1;
  std::span<const int32_t> documents;
  std::span<const SampleRow> rows;
  std::span<const uint32_t> shuffle;
};

void write_gpt_index(const std::filesystem::path& path, const std::string& description, const GptIndexArrays& arrays);

// Empty when there is no such file; or, with a warning, when it is damaged or of something else.
std::optional<MappedGptIndex> open_gpt_index(const std::filesystem::path& path, const std::string& description);

}  // namespace triax
