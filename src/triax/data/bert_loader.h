// Batches for training BERT, from one sentence-split dataset or a blend of several: as GptLoader, a list of samples
// 0, 1, 2 ... that depends on the datasets, the seed and the options only.
#pragma once

#include <string>

#include "triax/data/bert_dataset.h"
#include "triax/data/blended_datasets.h"

namespace triax {

struct BertLoaderOptions {
  std::vector<DataSource> sources{};
  std::string split = "969,30,1";  // of documents
  Split part = Split::train;
  int64_t num_samples = 0;       // at least that many; 0 (only without weights): one epoch of every dataset
  BertDatasetOptions samples{};  // its documents and num_samples are worked out from the above
};

class BertLoader {
 public:
  BertLoader(BertLoaderOptions options, const BertVocabulary& vocabulary);

  int64_t num_samples() const { return sets_.num_samples(); }
  // Lines of a table, with a head: each dataset's documents and sentences, its share of the samples, epochs.
  std::string blend_table() const;

  // Samples [first, first + count) of the training order. Reuses the memory of `batch`. Safe from several threads,
  // each with its own batch.
  void batch(int64_t first, int64_t count, BertBatch& batch) const;

 private:
  BertLoaderOptions options_;
  BlendedDatasets<BertDataset> sets_;
};

}  // namespace triax
