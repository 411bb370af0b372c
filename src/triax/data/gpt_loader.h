// Batches for training GPT, from one dataset or a blend of several.
//
// The order of training is a list of samples 0, 1, 2 ... that depends on the datasets, the seed and
// the options only. Its state is one number, how many samples have been consumed; which rank trains
// which sample is the trainer's business, so that every grid sees the same data.
#pragma once

#include <string>

#include "triax/data/blended_datasets.h"
#include "triax/data/gpt_dataset.h"

namespace triax {

// Tokens [start, start + length) of a batch that may attend to each other (as triax::Span of the
// kernels).
struct TokenSpan {
  int64_t start = 0;
  int64_t length = 0;
  bool operator==(const TokenSpan&) const = default;
};

// `count` samples of `seq_length` tokens; all arrays are [count, seq_length].
struct GptBatch {
  int64_t count = 0;
  int64_t seq_length = 0;
  std::vector<int32_t> tokens;
  std::vector<int32_t> labels;  // the next token
  std::vector<int32_t> positions;
  std::vector<float> loss_mask;  // 0 or 1
  // Numbered over the whole batch, sample s having tokens [s L, s L + L). One span a sample, or one a
  // document within it; padding is in none.
  std::vector<TokenSpan> spans;
};

struct GptLoaderOptions {
  std::vector<DataSource> sources{};
  std::string split = "969,30,1";
  Split part = Split::train;
  // At least that many; 0 (only without weights): one epoch of every dataset.
  int64_t num_samples = 0;
  int64_t seq_length = 0;
  uint32_t seed = 1234;
  bool keep_partial = false;  // see GptDatasetOptions
  // Token that ends a document, -1 when there is none; what follows needs it.
  int32_t eod = -1;
  bool eod_mask_loss = false;         // no loss where the input is the end of a document
  bool reset_positions = false;       // positions count from 0 after each end of a document
  bool reset_attention_mask = false;  // documents do not see each other: one span each
  // Tokens must be below it; 0: unchecked.
  int64_t vocab_size = 0;
  std::filesystem::path cache_directory{};
  bool use_cache = true;
};

class GptLoader {
 public:
  explicit GptLoader(GptLoaderOptions options);

  int64_t num_samples() const { return sets_.num_samples(); }
  int64_t seq_length() const { return options_.seq_length; }
  const std::vector<GptDataset>& datasets() const { return sets_.datasets(); }
  // How many of the samples come from each dataset.
  std::vector<int64_t> samples_per_dataset() const { return sets_.samples_per_dataset(); }

  // What each dataset gives: its tokens, its share of the samples, how many that are, and how often it is gone through
  // (samples times length over tokens, as Smith et al. 2022, table 2, reports it). Lines of a table, with a head.
  std::string blend_table() const;

  // Samples [first, first + count) of the training order. Reuses the memory of `batch`. Safe from
  // several threads, each with its own batch.
  void batch(int64_t first, int64_t count, GptBatch& batch) const;

 private:
  void load(int64_t sample, std::span<int32_t> tokens, GptBatch& batch, int64_t row) const;

  GptLoaderOptions options_;
  BlendedDatasets<GptDataset> sets_;
};

}  // namespace triax
