// Training samples of GPT: sequences of seq_length + 1 tokens cut from shuffled documents, number for
// number those of Megatron-LM (core/datasets/gpt_dataset.py), so that a run can be compared with one
// of theirs.
//
// The documents of a range are repeated for as many epochs as the samples need, shuffled, and laid end
// to end; sample r is tokens [r L, r L + L] of that stream (neighbours share one token), and the
// samples are shuffled in turn. Three arrays say it all: the document index (which document comes
// when), the sample index (where in it each sample begins) and the shuffle index. They are built once,
// kept in a file beside the dataset, and mapped.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "triax/data/indexed_dataset.h"

namespace triax {

// Sequences [begin, end) of a dataset.
struct SequenceRange {
  int64_t begin = 0;
  int64_t end = 0;
  bool operator==(const SequenceRange&) const = default;
};

enum class Split { train, valid, test };
const char* split_name(Split split);

// The shares of train, validation and test, such as "969,30,1" or "0.9,0.1", as ranges of the
// sequences.
std::array<SequenceRange, 3> split_ranges(std::string_view shares, int64_t num_sequences);

// How many times the documents are gone through, and how the last time is treated.
struct EpochPlan {
  int64_t epochs = 1;
  // Samples that come before the last epoch; those of the last epoch are then shuffled on their own.
  // Only where less than 80 % of the last epoch is wanted.
  int64_t samples_before_last = 0;
  bool separate_last = false;
};
EpochPlan plan_epochs(int64_t tokens_per_epoch, int64_t num_samples, int64_t seq_length);

// NumPy's RandomState.shuffle: std::mt19937 is its generator, seeding included. `random` goes on where
// earlier shuffles left it.
void numpy_shuffle(std::span<int32_t> values, std::mt19937& random);
void numpy_shuffle(std::span<uint32_t> values, std::mt19937& random);

struct GptDatasetOptions {
  SequenceRange range;
  int64_t num_samples = 0;  // at least that many; 0: those of one epoch
  int64_t seq_length = 0;   // L
  uint32_t seed = 1234;
  // Keep the last sample although it is shorter (for validation).
  bool keep_partial = false;
  // Where the index is kept; empty: PREFIX-cache beside the dataset.
  std::filesystem::path cache_directory{};
  bool use_cache = true;
};

// Where a sample begins: position in the document index, token within that document.
struct SampleRow {
  uint32_t document = 0;
  int32_t offset = 0;
  bool operator==(const SampleRow&) const = default;
};

class GptDataset {
 public:
  // Throws when the range has too few tokens, or when so many samples are asked for that the index
  // would not fit.
  GptDataset(IndexedDataset data, GptDatasetOptions options);
  ~GptDataset();
  GptDataset(GptDataset&&) noexcept;
  GptDataset& operator=(GptDataset&&) noexcept;

  int64_t num_samples() const;  // num_samples of the options, or more
  int64_t num_epochs() const;
  const IndexedDataset& data() const { return data_; }
  const GptDatasetOptions& options() const { return options_; }

  // Writes sample k to `out` [L + 1]; returns how many tokens it has, L + 1 but for a partial one. The
  // rest of `out` is left as it is. Safe from several threads.
  int64_t sample(int64_t k, std::span<int32_t> out) const;

  std::span<const int32_t> document_index() const;
  std::span<const SampleRow> sample_index() const;  // one more than samples
  std::span<const uint32_t> shuffle_index() const;
  // Where the index is kept; empty when it is in memory only.
  const std::filesystem::path& cache_file() const;

 private:
  struct Index;
  IndexedDataset data_;
  GptDatasetOptions options_;
  std::unique_ptr<Index> index_;
};

}  // namespace triax
