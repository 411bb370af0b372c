#include "triax/finetune/batches.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "triax/base/error.h"
#include "triax/base/numbers.h"

namespace triax::finetune {
namespace {

int64_t length_of(const Example& e) { return static_cast<int64_t>(e.ids.size()); }

std::span<const Example> group_at(std::span<const Example> examples, size_t first) {
  return examples.subspan(first, static_cast<size_t>(examples[first].group));
}

int64_t tokens_of_group(std::span<const Example> group) {
  return std::accumulate(group.begin(), group.end(), int64_t{0}, [](int64_t sum, const Example& e) { return sum + length_of(e); });
}

int64_t round_up_quotient(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Micro-batches of a step that each data-parallel rank should have at least: a pipeline is idle less with more of them.
int64_t wanted_micro_batches(const EngineConfig& config, int64_t groups) {
  const GridShape& grid = config.parallel.grid;
  return grid.pipeline_parallel > 1 ? std::min<int64_t>(2 * grid.pipeline_parallel, round_up_quotient(groups, grid.data_parallel)) : 1;
}

// How many it has.
int64_t count_micro_batches(const EngineConfig& config, int64_t tokens, int64_t groups, int64_t micro_batch_tokens) {
  const GridShape& grid = config.parallel.grid;
  const int64_t count = std::max(wanted_micro_batches(config, groups), round_up_quotient(tokens, grid.data_parallel * micro_batch_tokens));
  return config.parallel.virtual_pipeline > 1 ? round_up(count, grid.pipeline_parallel) : count;
}

// Where each part of a list begins, and the last one's ends: parts of about as many tokens, each of them more than its share
// by less than one entry.
std::vector<size_t> parts_of(std::span<const int64_t> tokens, size_t count) {
  const int64_t all = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  std::vector<size_t> begins;
  int64_t before = 0;
  for (size_t i = 0; i < tokens.size(); before += tokens[i++])
    while (static_cast<int64_t>(begins.size()) * all <= before * static_cast<int64_t>(count) && begins.size() < count) begins.push_back(i);
  begins.resize(count + 1, tokens.size());
  return begins;
}

// What each term of an example's loss weighs before the sum of all weights is known.
void weigh(const Example& e, const BertHeadConfig& head, std::span<const float> classes, std::vector<float>& weights) {
  if (head.head == BertHead::tokens) {
    for (const int32_t label : e.labels) weights.push_back(label < 0 ? 0 : classes[static_cast<size_t>(label)]);
  } else if (head.head == BertHead::sequence && head.num_labels > 1) {
    weights.push_back(classes[static_cast<size_t>(e.labels[0])]);
  } else if (head.head != BertHead::choice || e.group > 0) {
    weights.push_back(1);
  }
}

// Of the example that was appended last.
void append_targets(const Example& e, const BertHeadConfig& head, TokenBatch& batch) {
  TaskTargets& t = batch.task;
  if (head.head == BertHead::choice) {
    if (e.group == 0) return;
    check(t.choices == 0 || t.choices == e.group, "a question of {} choices stands beside one of {}; all need the same number", e.group, t.choices);
    t.choices = e.group;
    t.labels.push_back(e.labels[0]);
    return;
  }
  const auto start = static_cast<int32_t>(batch.spans.back().start);
  t.labels.insert(t.labels.end(), e.labels.begin(), e.labels.end());
  t.values.push_back(e.value);
  t.starts.push_back(start + e.start);
  t.ends.push_back(start + e.end);
}

}  // namespace

std::vector<size_t> first_of_groups(std::span<const Example> examples) {
  std::vector<size_t> firsts;
  for (size_t i = 0; i < examples.size(); ++i)
    if (examples[i].group > 0) firsts.push_back(i);
  return firsts;
}

std::vector<float> class_weights(std::span<const Example> examples, int64_t num_labels, ClassWeights which) {
  std::vector<float> weights(static_cast<size_t>(num_labels), 1.0f);
  if (which == ClassWeights::none) return weights;
  std::vector<int64_t> counts(weights.size());
  int64_t total = 0, present = 0;
  for (const Example& e : examples)
    for (const int32_t label : e.labels)
      if (label >= 0) ++counts[static_cast<size_t>(label)], ++total;
  for (const int64_t count : counts) present += count > 0;
  for (size_t i = 0; i < weights.size(); ++i)
    if (counts[i] > 0) weights[i] = static_cast<float>(static_cast<double>(total) / static_cast<double>(present * counts[i]));
  return weights;
}

void size_engine(const BatchSizes& sizes, std::span<const Example> trained, std::span<const std::span<const Example>> predicted, EngineConfig& config) {
  std::vector<int64_t> groups;
  int64_t longest = 1, shortest = sizes.micro_batch_tokens;
  const auto look_at = [&](std::span<const Example> examples) {
    for (const Example& e : examples) longest = std::max(longest, length_of(e)), shortest = std::min(shortest, length_of(e));
  };
  look_at(trained);
  for (const size_t first : first_of_groups(trained)) groups.push_back(tokens_of_group(group_at(trained, first)));
  for (const auto examples : predicted) look_at(examples);
  std::ranges::sort(groups, std::greater());
  const auto count = std::min(static_cast<size_t>(sizes.batch_size), groups.size());
  const int64_t step = std::accumulate(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(count), int64_t{0});
  // A part of a step is larger than its share by less than a group; of a step of few groups the share is at most one.
  const int64_t largest_group = groups.empty() ? 0 : groups[0];
  const int64_t share = round_up_quotient(step, config.parallel.grid.data_parallel * wanted_micro_batches(config, static_cast<int64_t>(count)));
  const int64_t part = std::max(std::min(sizes.micro_batch_tokens, share), largest_group) + largest_group;
  const int64_t tokens = std::max(std::min(part, step), longest);
  config.sequence_length = longest;
  config.packed_tokens = round_up(tokens, config.token_multiple());
  config.micro_batch_size = (config.packed_tokens + shortest - 1) / shortest;
  config.max_micro_batches = count_micro_batches(config, step, static_cast<int64_t>(count), sizes.micro_batch_tokens);
}

void size_engine_to_predict(int64_t tokens, EngineConfig& config) {
  config.training = false;
  config.sequence_length = config.model.max_positions;
  config.packed_tokens = round_up(std::max(tokens, config.sequence_length), config.token_multiple());
  config.micro_batch_size = std::max<int64_t>(1, config.packed_tokens / 2);  // [CLS] and [SEP]
  config.max_micro_batches = 1;
}

void append(const Example& example, TokenBatch& batch) {
  const int64_t length = length_of(example);
  batch.spans.push_back({static_cast<int64_t>(batch.tokens.size()), length});
  batch.tokens.insert(batch.tokens.end(), example.ids.begin(), example.ids.end());
  batch.types.insert(batch.types.end(), example.types.begin(), example.types.end());
  for (int64_t i = 0; i < length; ++i) batch.positions.push_back(static_cast<int32_t>(i));
  batch.max_length = std::max(batch.max_length, length);
}

void complete(const EngineConfig& config, TokenBatch& batch) {
  const bool by_token = config.head.head == BertHead::tokens, has_targets = !batch.task.weights.empty() || batch.spans.empty();
  const auto add_token = [&] {
    for (auto* ids : {&batch.tokens, &batch.types, &batch.positions}) ids->push_back(0);
    if (by_token && has_targets) batch.task.labels.push_back(-1), batch.task.weights.push_back(0);
  };
  if (batch.spans.empty()) {
    batch.spans.push_back({0, 1});
    add_token();
    if (!by_token) batch.task = {.labels = {0}, .starts = {0}, .ends = {0}, .weights = {0}, .values = {0}, .choices = 1};
  }
  while (static_cast<int64_t>(batch.tokens.size()) % config.token_multiple() != 0) add_token();
}

std::vector<TokenBatch> pack_step(const EngineConfig& config, int replica, std::span<const Example> examples, std::span<const size_t> firsts,
                                  std::span<const float> weights_of_classes, int64_t micro_batch_tokens) {
  std::vector<int64_t> tokens;
  std::vector<float> weights;
  int64_t longest = 1;  // of the whole step: dropout's masks depend on it
  for (const size_t first : firsts) {
    tokens.push_back(tokens_of_group(group_at(examples, first)));
    for (const Example& e : group_at(examples, first)) weigh(e, config.head, weights_of_classes, weights), longest = std::max(longest, length_of(e));
  }
  const double sum = std::max(std::accumulate(weights.begin(), weights.end(), 0.0), 1e-30);
  const int64_t all = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  const auto count = static_cast<size_t>(count_micro_batches(config, all, static_cast<int64_t>(firsts.size()), micro_batch_tokens));
  const auto begins = parts_of(tokens, count * static_cast<size_t>(config.parallel.grid.data_parallel));
  std::vector<TokenBatch> batches(count);
  for (size_t b = 0; b < count; ++b) {
    TokenBatch& batch = batches[b];
    const size_t part = static_cast<size_t>(replica) * count + b;
    batch.first_token = std::accumulate(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(begins[part]), int64_t{0});
    for (size_t i = begins[part]; i < begins[part + 1]; ++i)
      for (const Example& e : group_at(examples, firsts[i])) {
        append(e, batch);
        append_targets(e, config.head, batch);
        weigh(e, config.head, weights_of_classes, batch.task.weights);
      }
    for (float& w : batch.task.weights) w = static_cast<float>(static_cast<double>(w) / sum);
    batch.max_length = longest;
    complete(config, batch);
  }
  return batches;
}

}  // namespace triax::finetune
