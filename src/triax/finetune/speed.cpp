#include "triax/finetune/speed.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "triax/base/error.h"
#include "triax/base/rng.h"
#include "triax/finetune/batches.h"
#include "triax/finetune/predict.h"

namespace triax::finetune {
namespace {

using Clock = std::chrono::steady_clock;

// Padding is computed as if it were text, which is what it costs where batches are rectangles.
std::vector<Example> padded(std::vector<Example> batch, Padding padding, int64_t window) {
  if (padding == Padding::none) return batch;
  size_t length = static_cast<size_t>(padding == Padding::window ? window : 0);
  for (const Example& e : batch) length = std::max(length, e.ids.size());
  for (Example& e : batch) {
    if (e.labels.size() == e.ids.size() && e.ids.size() > 1) e.labels.resize(length, -1);
    e.ids.resize(length, 0);
    e.types.resize(length, 0);
  }
  return batch;
}

int64_t tokens_of(const std::vector<Example>& batch) {
  return std::accumulate(batch.begin(), batch.end(), int64_t{0}, [](int64_t sum, const Example& e) { return sum + static_cast<int64_t>(e.ids.size()); });
}

// Of forward and backward: twice as many products as forward, two operations each.
double training_flops(const ModelConfig& model, const std::vector<Example>& batch) {
  const auto h = static_cast<double>(model.hidden_size), f = static_cast<double>(model.ffn_size());
  double sum = 0;
  for (const Example& e : batch) {
    const auto s = static_cast<double>(e.ids.size());
    sum += 6 * s * static_cast<double>(model.num_layers) * (4 * h * h + 2 * h * f + 2 * s * h);
  }
  return sum;
}

// Whole groups, given by their first examples, as examples of their own.
std::vector<Example> gather(const std::vector<Example>& examples, std::span<const size_t> firsts) {
  std::vector<Example> batch;
  for (const size_t first : firsts)
    for (size_t j = first; j < first + static_cast<size_t>(examples[first].group); ++j) batch.push_back(examples[j]);
  return batch;
}

class SpeedRun {
 public:
  SpeedRun(const EngineConfig& config, const SpeedOptions& options)
      : engine_(config), options_(options), weights_(static_cast<size_t>(std::max<int64_t>(config.head.num_labels, 1)), 1.0f) {
    engine_.initialize();
  }

  void one(const std::vector<Example>& batch, Padding padding, bool counts, TuningSpeed& speed) {
    const std::vector<Example> work = padded(batch, padding, options_.window);
    const auto begin = Clock::now();
    engine_.train_step(++steps_, 1e-5, pack_step(engine_.config(), 0, work, first_of_groups(work), weights_, options_.micro_batch_tokens));
    const auto middle = Clock::now();
    predict_all(engine_, work, options_.micro_batch_tokens);
    const auto end = Clock::now();
    if (!counts) return;
    const auto tokens = static_cast<double>(tokens_of(batch)), computed = static_cast<double>(tokens_of(work));
    const auto add = [&](WorkSpeed& to, Clock::duration time) {
      to.tokens += tokens, to.computed += computed, to.seconds += std::chrono::duration<double>(time).count();
    };
    add(speed.training[static_cast<size_t>(padding)], middle - begin);
    add(speed.prediction[static_cast<size_t>(padding)], end - middle);
  }

 private:
  Engine engine_;
  const SpeedOptions& options_;
  std::vector<float> weights_;
  int64_t steps_ = 0;
};

}  // namespace

std::vector<Example> random_examples(int64_t count, int64_t length, int64_t vocab_size) {
  Philox random(1);
  std::vector<Example> examples(static_cast<size_t>(count));
  for (Example& e : examples) {
    for (int64_t i = 0; i < length; ++i) e.ids.push_back(static_cast<int32_t>(random.next_below(static_cast<uint64_t>(vocab_size))));
    e.types.assign(e.ids.size(), 0);
    e.labels = {static_cast<int32_t>(random.next_below(2))};
  }
  return examples;
}

TuningSpeed measure_tuning_speed(EngineConfig config, const std::vector<Example>& examples, const SpeedOptions& options) {
  check(!examples.empty(), "there is nothing to measure with");
  std::vector<size_t> firsts = first_of_groups(examples);
  const std::vector<Example> longest = padded(examples, options.padded ? Padding::window : Padding::none, options.window);
  const std::span<const Example> predicted = longest;
  size_engine({options.batch_size, options.micro_batch_tokens}, longest, {&predicted, 1}, config);
  Philox random(1);
  shuffle(firsts, random);

  TuningSpeed speed;
  SpeedRun run(config, options);
  const size_t batch_size = std::min(static_cast<size_t>(options.batch_size), firsts.size());
  double flops = 0, spent = 0;
  for (size_t at = 0, round = 0; round < 2 || spent < options.seconds; ++round, at += batch_size) {
    if (at + batch_size > firsts.size()) at = 0;
    const auto batch = gather(examples, {firsts.data() + at, batch_size});
    for (const Padding padding : {Padding::none, Padding::batch, Padding::window})
      if (padding == Padding::none || options.padded) run.one(batch, padding, round > 0, speed);
    if (round == 0) continue;
    ++speed.steps;
    flops += training_flops(config.model, batch);
    spent = speed.training[0].seconds + speed.training[1].seconds + speed.training[2].seconds;
  }
  speed.model_flops_per_second = flops / speed.training[0].seconds;
  return speed;
}

}  // namespace triax::finetune
