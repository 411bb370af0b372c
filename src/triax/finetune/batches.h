// Examples packed one behind the other into batches without padding, and a model's answer to all of them.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "triax/comm/communicator.h"
#include "triax/finetune/task.h"
#include "triax/models/bert.h"

namespace triax::finetune {

// The tokens of some examples, as the model takes them. Reused from batch to batch.
class PackedBatch {
 public:
  void clear();
  void add(const Example& example);
  int64_t tokens() const { return static_cast<int64_t>(ids_.size()); }
  int64_t sequences() const { return static_cast<int64_t>(spans_.size()); }
  const Span& span(int64_t i) const { return spans_[static_cast<size_t>(i)]; }
  // Valid until the batch changes.
  BertInput input();

 private:
  std::vector<int32_t> ids_, types_, positions_;
  std::vector<Span> spans_;
  int64_t longest_ = 0;
};

// Memory for batches of any size: grows to the largest.
class BatchMemory {
 public:
  Arena& for_batch(const Bert& model, const PackedBatch& batch, bool with_backward);

 private:
  std::unique_ptr<Arena> arena_;
};

// The logits of every example, in order, computed `tokens` at a time. `progress` is told how many examples
// are done. An example alone may be longer than `tokens`. With `ranks` each of them computes its part, and all get all.
std::vector<Logits> predict_all(const Bert& model, std::span<const Example> examples, int64_t tokens, BatchMemory& memory,
                                const std::function<void(uint64_t)>& progress = {}, Communicator* ranks = nullptr);

// How classes count, by label: all alike, or by the inverse of how frequent they are (their mean over the
// examples is 1). Labels below 0 do not count.
std::vector<float> class_weights(std::span<const Example> examples, int64_t num_labels, ClassWeights which);

// Adds the gradients of the mean loss over the examples, whole groups given by their first ones, in
// micro-batches of about `tokens`. `layout` tells seed, step and the first token's number. Returns the loss. With `ranks`
// each of them takes its part of the examples; gradients and loss are the part's, to be summed.
double train_batch(const Bert& model, std::span<const Example> examples, std::span<const size_t> firsts, std::span<const float> weights_of_classes,
                   int64_t tokens, TokenLayout layout, BatchMemory& memory, const Communicator* ranks = nullptr);

}  // namespace triax::finetune
