// The samples of a run, as the engine takes them: a blend of token datasets for training, and one for
// validation. Which sample comes when depends on the configuration alone, never on the grid.
#pragma once

#include <memory>

#include "triax/text/tokenizer.h"
#include "triax/train/engine.h"
#include "triax/train/run_config.h"

namespace triax {

class TrainingData {
 public:
  // Opens the datasets of config.data and builds (or finds) their sample indexes. A BERT needs the
  // vocabulary, a GPT may do without (null). config.resolve() has been called.
  TrainingData(const RunConfig& config, const Tokenizer* tokenizer);
  ~TrainingData();

  // `count` sequences of the training order from `first_sample` on, as micro-batch `batch`, which is
  // sample `first_in_step` of its step.
  void train_batch(int64_t first_sample, int64_t count, int64_t first_in_step, TokenBatch& batch);
  void validation_batch(int64_t first_sample, int64_t count, TokenBatch& batch);

  bool has_validation() const;
  // Sequences that one pass over the validation documents makes.
  int64_t validation_samples() const;
  // For the console: tokens, documents, epochs of each dataset.
  std::string summary() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace triax
