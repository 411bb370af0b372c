// Examples packed one behind the other into micro-batches without padding, and steps cut into them for a grid.
#pragma once

#include <span>
#include <vector>

#include "triax/finetune/task.h"
#include "triax/train/engine.h"

namespace triax::finetune {

// The first example of every group.
std::vector<size_t> first_of_groups(std::span<const Example> examples);

// How classes count, by label: all alike, or by the inverse of how frequent they are (their mean over the
// examples is 1). Labels below 0 do not count.
std::vector<float> class_weights(std::span<const Example> examples, int64_t num_labels, ClassWeights which);

// How much is computed at a time: steps of so many groups, in micro-batches of about so many tokens.
struct BatchSizes {
  int64_t batch_size = 0, micro_batch_tokens = 0;
};

// Fills in how large micro-batches become at most, and how many there are of a step: with `trained`, and `predicted`, all
// examples that there will be.
void size_engine(const BatchSizes& sizes, std::span<const Example> trained, std::span<const std::span<const Example>> predicted, EngineConfig& config);
// The same where examples come that nobody knows yet, to be predicted only, `tokens` at a time: there is room for the longest
// that the model can read, where that is more.
void size_engine_to_predict(int64_t tokens, EngineConfig& config);

// An example behind what is in the batch, without its targets.
void append(const Example& example, TokenBatch& batch);
// What is behind the examples: one token that does not count where there are none, and padding up to a multiple of tokens
// where the grid asks for it.
void complete(const EngineConfig& config, TokenBatch& batch);

// The micro-batches of this data-parallel rank, as many as every other's, of a step over examples, whole groups given by
// their first ones. The loss is the weighted mean over examples, or over tokens that have a label.
std::vector<TokenBatch> pack_step(const EngineConfig& config, int replica, std::span<const Example> examples, std::span<const size_t> firsts,
                                  std::span<const float> weights_of_classes, int64_t micro_batch_tokens);

}  // namespace triax::finetune
