#include "triax/train/training_data.h"

#include <fmt/core.h>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/data/gpt_loader.h"

namespace triax {
namespace {

// Samples that the whole run takes, batch ramp included.
int64_t samples_of_run(const RunConfig& config) {
  if (config.train.batch_ramp_start <= 0) return config.train.steps * config.train.global_batch_size;
  int64_t samples = 0;
  for (int64_t step = 0; step < config.train.steps; ++step) samples += config.batch_size_at(samples);
  return samples;
}

GptLoaderOptions loader_options(const RunConfig& config, int32_t eod) {
  const DataConfig& data = config.data;
  check(eod >= 0 || (!data.reset_positions && !data.reset_attention && !data.eod_mask_loss),
        "data.reset_positions, data.reset_attention and data.eod_mask_loss need data.tokenizer, whose "
        "vocabulary says which token ends a document");
  GptLoaderOptions options;
  options.split = data.split;
  options.seq_length = config.train.sequence_length;
  options.seed = static_cast<uint32_t>(config.train.seed);
  options.eod = eod;
  options.eod_mask_loss = data.eod_mask_loss;
  options.reset_positions = data.reset_positions;
  options.reset_attention_mask = data.reset_attention;
  options.vocab_size = config.model.vocab_size;
  options.cache_directory = data.cache;
  return options;
}

void copy(const GptBatch& from, int64_t first_in_step, TokenBatch& to) {
  to.tokens = from.tokens;
  to.targets = from.labels;
  to.positions = from.positions;
  to.loss_mask = from.loss_mask;
  to.spans.clear();
  for (const TokenSpan& span : from.spans) to.spans.push_back({span.start, span.length});
  to.first_sample = first_in_step;
}

}  // namespace

struct TrainingData::Impl {
  std::unique_ptr<GptLoader> train, validation;
  GptBatch batch;  // reused
};

TrainingData::TrainingData(const RunConfig& config, int32_t eod) : impl_(std::make_unique<Impl>()) {
  const DataConfig& data = config.data;
  GptLoaderOptions train = loader_options(config, eod);
  for (size_t i = 0; i < data.train.size(); ++i)
    train.sources.push_back({data.train[i], data.weights.empty() ? 1.0 : data.weights[i]});
  train.num_samples = samples_of_run(config);
  // Separate validation data leaves all documents of the training sets to training.
  if (!data.validation.empty()) train.split = "1,0,0";
  GptLoaderOptions validation = train;
  impl_->train = std::make_unique<GptLoader>(std::move(train));

  if (config.eval.batches == 0) return;
  validation.part = data.validation.empty() ? Split::valid : Split::train;
  if (!data.validation.empty()) {
    validation.sources.clear();
    for (const std::string& prefix : data.validation) validation.sources.push_back({prefix, 0.0});
  } else {
    for (DataSource& source : validation.sources) source.weight = 0;
    const auto shares = split(data.split, ',');
    if (shares.size() < 2 || trim(shares[1]) == "0") return;
  }
  validation.num_samples = 0;  // one pass
  impl_->validation = std::make_unique<GptLoader>(std::move(validation));
}

TrainingData::~TrainingData() = default;

void TrainingData::train_batch(int64_t first_sample, int64_t count, int64_t first_in_step,
                               TokenBatch& batch) {
  impl_->train->batch(first_sample, count, impl_->batch);
  copy(impl_->batch, first_in_step, batch);
}

void TrainingData::validation_batch(int64_t first_sample, int64_t count, TokenBatch& batch) {
  impl_->validation->batch(first_sample, count, impl_->batch);
  copy(impl_->batch, first_sample, batch);
}

bool TrainingData::has_validation() const { return validation_samples() > 0; }

int64_t TrainingData::validation_samples() const {
  return impl_->validation ? impl_->validation->num_samples() : 0;
}

std::string TrainingData::summary() const {
  return impl_->train->blend_table() + fmt::format("\nvalidation on up to {} samples", validation_samples());
}

}  // namespace triax
