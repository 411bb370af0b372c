// Training samples of BERT: [CLS] A [SEP] B [SEP], A and B runs of sentences of one document, in order
// or exchanged (which the model has to tell), with masked words to guess (Devlin et al. 2019; sentence
// order as in Megatron-LM and ALBERT).
//
// Which sentences make a sample is Megatron's mapping, number for number (build_mapping with its
// generators). What is drawn within a sample (where A ends, what is masked) is a function of the seed
// and the number of the sample alone.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "triax/base/rng.h"
#include "triax/data/gpt_dataset.h"
#include "triax/data/gpt_loader.h"
#include "triax/text/tokenizer.h"

namespace triax {

// What sample building must know of a vocabulary.
struct BertVocabulary {
  int32_t cls = -1, sep = -1, mask = -1, pad = -1;
  std::vector<uint8_t> starts_word;   // [vocabulary]
  std::vector<int32_t> replacements;  // tokens that may stand in for a masked one: all but special ones
};
// Throws when the tokenizer lacks [CLS], [SEP], [MASK] or [PAD].
BertVocabulary bert_vocabulary(const Tokenizer& tokenizer);

struct BertDatasetOptions {
  SequenceRange documents;  // of the dataset
  int64_t num_samples = 0;  // at least that many; 0: those of one epoch
  int64_t seq_length = 0;   // [CLS] and [SEP] included
  uint32_t seed = 1234;
  // Share of samples that are shorter, so that short inputs are seen too.
  double short_probability = 0.1;
  double mask_probability = 0.15;  // of the tokens
  // Runs of up to that many words are masked together, of n words with a probability proportional to
  // 1 / n.
  int max_ngram = 3;
  bool whole_words = true;  // all pieces of a word or none
  // Where the mapping is kept; empty: PREFIX-cache beside the dataset.
  std::filesystem::path cache_directory{};
  bool use_cache = true;
};

// Sentences [first, end), and how many tokens of them to use.
struct BertRow {
  int32_t first = 0, end = 0, target = 0;
  bool operator==(const BertRow&) const = default;
};

// samples_of_an_epoch, if given, receives how many of them going once through the documents makes.
std::vector<BertRow> build_bert_mapping(const IndexedDataset& data, const BertDatasetOptions& options,
                                        int64_t* samples_of_an_epoch = nullptr);

// `count` samples of `seq_length` tokens; arrays are [count, seq_length] unless said.
struct BertBatch {
  int64_t count = 0;
  int64_t seq_length = 0;
  std::vector<int32_t> tokens;
  std::vector<int32_t> types;    // 0 for [CLS] A [SEP], 1 for B [SEP] and padding is 0
  std::vector<int32_t> labels;   // the token that was there; 0 where none is to be guessed
  std::vector<float> loss_mask;  // 1 where one is
  std::vector<int32_t> exchanged;  // [count]: 1 when B came before A in the text
  std::vector<TokenSpan> spans;    // one a sample, without the padding

  void clear(int64_t length);  // no samples, of so many tokens
};

class BertDataset {
 public:
  // Throws when no document has two sentences to pair.
  BertDataset(IndexedDataset data, BertVocabulary vocabulary, BertDatasetOptions options);
  ~BertDataset();
  BertDataset(BertDataset&&) noexcept;
  BertDataset& operator=(BertDataset&&) noexcept;

  int64_t num_samples() const { return static_cast<int64_t>(rows_.size()); }
  std::span<const BertRow> rows() const { return rows_; }
  const IndexedDataset& data() const { return data_; }
  const BertDatasetOptions& options() const { return options_; }
  // What going once through the documents makes.
  int64_t samples_of_an_epoch() const { return samples_of_an_epoch_; }

  // Samples [first, first + count). Reuses the memory of `batch`. Safe from several threads, each with
  // its own batch.
  void batch(int64_t first, int64_t count, BertBatch& batch) const;
  // One sample behind those that are there.
  void append(int64_t sample, BertBatch& batch) const;

 private:
  struct Pair;
  struct Index;
  bool use_file(const std::filesystem::path& file, const std::string& description);
  void read_pair(const BertRow& row, Philox& random, Pair& pair) const;
  void mask(std::span<int32_t> tokens, Philox& random, std::span<int32_t> labels, std::span<float> loss_mask) const;

  IndexedDataset data_;
  BertVocabulary vocabulary_;
  BertDatasetOptions options_;
  std::unique_ptr<Index> index_;
  std::span<const BertRow> rows_;
  int64_t samples_of_an_epoch_ = 0;
};

}  // namespace triax
