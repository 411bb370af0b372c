#include "triax/finetune/batches.h"

#include <algorithm>
#include <numeric>

#include "triax/base/error.h"

namespace triax::finetune {

void PackedBatch::clear() {
  for (auto* v : {&ids_, &types_, &positions_}) v->clear();
  spans_.clear();
  longest_ = 0;
}

void PackedBatch::add(const Example& example) {
  const auto length = static_cast<int64_t>(example.ids.size());
  spans_.push_back({tokens(), length});
  ids_.insert(ids_.end(), example.ids.begin(), example.ids.end());
  types_.insert(types_.end(), example.types.begin(), example.types.end());
  for (int64_t i = 0; i < length; ++i) positions_.push_back(static_cast<int32_t>(i));
  longest_ = std::max(longest_, length);
}

BertInput PackedBatch::input() {
  const Shape shape{tokens()};
  BertInput in{Tensor(ids_.data(), shape, DType::i32), Tensor(types_.data(), shape, DType::i32), Tensor(positions_.data(), shape, DType::i32), {}};
  in.layout.spans = spans_;
  in.layout.max_length = longest_;
  in.layout.training = false;
  return in;
}

Arena& BatchMemory::for_batch(const Bert& model, const PackedBatch& batch, bool with_backward) {
  const size_t bytes = model.memory_bytes(batch.tokens(), batch.sequences(), 0, with_backward);
  if (!arena_ || arena_->capacity() < bytes) {
    arena_.reset();  // the old memory first
    arena_ = std::make_unique<Arena>("activations", bytes + bytes / 8);
  }
  return *arena_;
}

namespace {

void take_logits(const Bert& model, const Tensor& logits, const PackedBatch& batch, std::vector<Logits>& out) {
  const float* x = logits.data<float>();
  const int64_t width = logits.dim(1);
  const bool by_token = model.head().head == BertHead::tokens || model.head().head == BertHead::spans;
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    const int64_t begin = by_token ? batch.span(i).start : i, count = by_token ? batch.span(i).length : 1;
    out.emplace_back(x + begin * width, x + (begin + count) * width);
  }
}

// What each term of the loss weighs before the sum of all weights is known, for one example.
void weigh(const Example& e, const Bert& model, std::span<const float> classes, std::vector<float>& weights) {
  if (model.head().head == BertHead::tokens) {
    for (const int32_t label : e.labels) weights.push_back(label < 0 ? 0 : classes[static_cast<size_t>(label)]);
  } else if (model.head().head == BertHead::sequence && model.head().num_labels > 1) {
    weights.push_back(classes[static_cast<size_t>(e.labels[0])]);
  } else if (model.head().head != BertHead::choice || e.group > 0) {
    weights.push_back(1);
  }
}

// The targets of one micro-batch.
struct Targets {
  std::vector<int32_t> labels, starts, ends;
  std::vector<float> weights, values;
  int64_t choices = 0;

  void add(const Example& e, const Span& span, BertHead head) {
    if (head == BertHead::choice) {
      if (e.group > 0) {
        check(choices == 0 || choices == e.group, "a question of {} choices stands beside one of {}; all need the same number", e.group, choices);
        choices = e.group;
        labels.push_back(e.labels[0]);
      }
      return;
    }
    labels.insert(labels.end(), e.labels.begin(), e.labels.end());
    values.push_back(e.value);
    starts.push_back(static_cast<int32_t>(span.start) + e.start);
    ends.push_back(static_cast<int32_t>(span.start) + e.end);
  }
  BertTargets view() const {
    return {.labels = labels, .weights = weights, .values = values, .starts = starts, .ends = ends, .choices = choices, .masked = {}, .order = {}};
  }
};

// Where each rank's part of a list begins, and the last one's ends: parts of about as many tokens.
std::vector<size_t> parts_of(std::span<const int64_t> tokens, int ranks) {
  const int64_t all = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  std::vector<size_t> begins;
  int64_t before = 0;
  for (size_t i = 0; i < tokens.size(); before += tokens[i++])
    while (static_cast<int64_t>(begins.size()) * all <= before * ranks && begins.size() < static_cast<size_t>(ranks)) begins.push_back(i);
  begins.resize(static_cast<size_t>(ranks) + 1, tokens.size());
  return begins;
}

// Every rank fills in its part of what is zero elsewhere; the sum is everything.
std::vector<Logits> predict_shared(const Bert& model, std::span<const Example> examples, int64_t tokens, BatchMemory& memory,
                                   const std::function<void(uint64_t)>& progress, Communicator& ranks) {
  const bool by_token = model.head().head == BertHead::tokens || model.head().head == BertHead::spans;
  const auto outputs = static_cast<size_t>(model.head().outputs());
  std::vector<int64_t> lengths;
  std::vector<size_t> offsets = {0};
  for (const Example& e : examples) {
    lengths.push_back(static_cast<int64_t>(e.ids.size()));
    offsets.push_back(offsets.back() + outputs * (by_token ? e.ids.size() : 1));
  }
  const auto begins = parts_of(lengths, ranks.size());
  const auto rank = static_cast<size_t>(ranks.rank());
  const size_t begin = begins[rank], count = begins[rank + 1] - begin;
  std::vector<float> all(offsets.back());
  const auto mine = predict_all(model, examples.subspan(begin, count), tokens, memory, progress);
  for (size_t i = 0; i < count; ++i) std::copy(mine[i].begin(), mine[i].end(), all.begin() + static_cast<std::ptrdiff_t>(offsets[begin + i]));
  ranks.all_reduce({all.data(), {static_cast<int64_t>(all.size())}, DType::f32});
  std::vector<Logits> out;
  for (size_t i = 0; i < examples.size(); ++i)
    out.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(offsets[i]), all.begin() + static_cast<std::ptrdiff_t>(offsets[i + 1]));
  return out;
}

}  // namespace

std::vector<Logits> predict_all(const Bert& model, std::span<const Example> examples, int64_t tokens, BatchMemory& memory,
                                const std::function<void(uint64_t)>& progress, Communicator* ranks) {
  if (ranks && ranks->size() > 1) return predict_shared(model, examples, tokens, memory, progress, *ranks);
  std::vector<Logits> out;
  out.reserve(examples.size());
  PackedBatch batch;
  const auto run = [&] {
    if (batch.sequences() == 0) return;
    take_logits(model, model.predict({}, batch.input(), memory.for_batch(model, batch, false)), batch, out);
    batch.clear();
    if (progress) progress(out.size());
  };
  for (const Example& e : examples) {
    if (batch.tokens() + static_cast<int64_t>(e.ids.size()) > tokens) run();
    batch.add(e);
  }
  run();
  return out;
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

double train_batch(const Bert& model, std::span<const Example> examples, std::span<const size_t> firsts, std::span<const float> weights_of_classes,
                   int64_t tokens, TokenLayout layout, BatchMemory& memory, const Communicator* ranks) {
  std::vector<float> all;
  for (const size_t first : firsts)
    for (int64_t j = 0; j < examples[first].group; ++j) weigh(examples[first + static_cast<size_t>(j)], model, weights_of_classes, all);
  double sum = 0;
  for (const float w : all) sum += static_cast<double>(w);
  if (sum == 0) return 0;

  double loss = 0;
  PackedBatch batch;
  Targets targets;
  const auto run = [&] {
    if (batch.sequences() == 0) return;
    for (float& w : targets.weights) w = static_cast<float>(static_cast<double>(w) / sum);
    BertInput input = batch.input();
    const int64_t first_token = layout.first_token;
    layout.spans = input.layout.spans;
    input.layout = layout;
    loss += model.train({}, input, targets.view(), memory.for_batch(model, batch, true));
    layout.first_token = first_token + batch.tokens();
    batch.clear();
    targets = {};
  };
  std::vector<int64_t> group_tokens(firsts.size());
  for (size_t i = 0; i < firsts.size(); ++i)
    for (int64_t j = 0; j < examples[firsts[i]].group; ++j) {
      const auto length = static_cast<int64_t>(examples[firsts[i] + static_cast<size_t>(j)].ids.size());
      group_tokens[i] += length;
      layout.max_length = std::max(layout.max_length, length);  // of the whole step: dropout's masks depend on it
    }
  const auto begins = parts_of(group_tokens, ranks ? ranks->size() : 1);
  const auto rank = static_cast<size_t>(ranks ? ranks->rank() : 0);
  layout.first_token += std::accumulate(group_tokens.begin(), group_tokens.begin() + static_cast<std::ptrdiff_t>(begins[rank]), int64_t{0});
  for (size_t i = begins[rank]; i < begins[rank + 1]; ++i) {
    const size_t first = firsts[i];
    if (batch.tokens() + group_tokens[i] > tokens) run();
    for (int64_t j = 0; j < examples[first].group; ++j) {
      const Example& e = examples[first + static_cast<size_t>(j)];
      batch.add(e);
      targets.add(e, batch.span(batch.sequences() - 1), model.head().head);
      weigh(e, model, weights_of_classes, targets.weights);
    }
  }
  run();
  return loss;
}

}  // namespace triax::finetune
