#include "triax/train/training_data.h"

#include <fmt/core.h>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/data/bert_loader.h"
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

GptLoaderOptions gpt_options(const RunConfig& config, const Tokenizer* tokenizer) {
  const DataConfig& data = config.data;
  const int32_t eod = tokenizer ? tokenizer->special_tokens().eod.value_or(-1) : -1;
  check(eod >= 0 || (!data.reset_positions && !data.reset_attention && !data.eod_mask_loss),
        "data.reset_positions, data.reset_attention and data.eod_mask_loss need data.tokenizer, whose "
        "vocabulary says which token ends a document");
  GptLoaderOptions options;
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

BertLoaderOptions bert_options(const RunConfig& config) {
  const DataConfig& data = config.data;
  check(!data.reset_positions && !data.reset_attention && !data.eod_mask_loss,
        "data.reset_positions, data.reset_attention and data.eod_mask_loss are for model.kind = \"gpt\"; samples of a BERT are of one document");
  BertLoaderOptions options;
  options.samples = {.documents = {},
                     .seq_length = config.train.sequence_length,
                     .seed = static_cast<uint32_t>(config.train.seed),
                     .short_probability = data.masking.short_probability,
                     .mask_probability = data.masking.probability,
                     .max_ngram = static_cast<int>(data.masking.max_ngram),
                     .whole_words = data.masking.whole_words,
                     .cache_directory = data.cache};
  return options;
}

void copy_spans(const std::vector<TokenSpan>& from, int64_t first_in_step, TokenBatch& to) {
  to.spans.clear();
  for (const TokenSpan& span : from) to.spans.push_back({span.start, span.length});
  to.first_sample = first_in_step;
}

void copy(const GptBatch& from, int64_t first_in_step, TokenBatch& to) {
  to.tokens = from.tokens;
  to.targets = from.labels;
  to.positions = from.positions;
  to.loss_mask = from.loss_mask;
  copy_spans(from.spans, first_in_step, to);
}

void copy(const BertBatch& from, int64_t first_in_step, TokenBatch& to) {
  to.tokens = from.tokens;
  to.types = from.types;
  to.targets = from.labels;
  to.loss_mask = from.loss_mask;
  to.order = from.exchanged;
  to.order_mask.assign(from.exchanged.size(), 1.0f);
  to.positions.resize(from.tokens.size());
  for (size_t i = 0; i < to.positions.size(); ++i)
    to.positions[i] = static_cast<int32_t>(i % static_cast<size_t>(from.seq_length));
  copy_spans(from.spans, first_in_step, to);
}

}  // namespace

struct TrainingData::Impl {
  virtual ~Impl() = default;
  virtual void train(int64_t first, int64_t count, int64_t first_in_step, TokenBatch& batch) = 0;
  virtual void validation(int64_t first, int64_t count, TokenBatch& batch) = 0;
  virtual int64_t validation_samples() const = 0;
  virtual std::string table() const = 0;
};

namespace {

// Loader: GptLoader or BertLoader. `open(options)` makes one.
template <typename Loader, typename Batch>
struct Loaders final : TrainingData::Impl {
  template <typename Options, typename Open>
  Loaders(const RunConfig& config, Options options, Open&& open) {
    const DataConfig& data = config.data;
    for (size_t i = 0; i < data.train.size(); ++i)
      options.sources.push_back({data.train[i], data.weights.empty() ? 1.0 : data.weights[i]});
    options.num_samples = samples_of_run(config);
    // Separate validation data leaves all documents of the training sets to training.
    options.split = data.validation.empty() ? data.split : "1,0,0";
    train_set = open(options);

    if (config.eval.batches == 0) return;
    options.part = data.validation.empty() ? Split::valid : Split::train;
    if (!data.validation.empty()) {
      options.sources.clear();
      for (const std::string& prefix : data.validation) options.sources.push_back({prefix, 0.0});
    } else {
      for (DataSource& source : options.sources) source.weight = 0;
      const auto shares = split(data.split, ',');
      if (shares.size() < 2 || trim(shares[1]) == "0") return;
    }
    options.num_samples = 0;  // one pass
    validation_set = open(options);
  }

  void train(int64_t first, int64_t count, int64_t first_in_step, TokenBatch& to) override {
    train_set->batch(first, count, batch);
    copy(batch, first_in_step, to);
  }
  void validation(int64_t first, int64_t count, TokenBatch& to) override {
    validation_set->batch(first, count, batch);
    copy(batch, first, to);
  }
  int64_t validation_samples() const override { return validation_set ? validation_set->num_samples() : 0; }
  std::string table() const override { return train_set->blend_table(); }

  std::unique_ptr<Loader> train_set, validation_set;
  Batch batch;  // reused
};

}  // namespace

TrainingData::TrainingData(const RunConfig& config, const Tokenizer* tokenizer) {
  if (!config.model.is_bert()) {
    impl_ = std::make_unique<Loaders<GptLoader, GptBatch>>(
        config, gpt_options(config, tokenizer), [](const GptLoaderOptions& options) { return std::make_unique<GptLoader>(options); });
    return;
  }
  check(tokenizer, "model.kind = \"bert\" needs data.tokenizer, the folder of the vocabulary with [CLS], [SEP], [MASK] and [PAD]");
  const BertVocabulary vocabulary = bert_vocabulary(*tokenizer);
  impl_ = std::make_unique<Loaders<BertLoader, BertBatch>>(
      config, bert_options(config), [&](const BertLoaderOptions& options) { return std::make_unique<BertLoader>(options, vocabulary); });
}

TrainingData::~TrainingData() = default;

void TrainingData::train_batch(int64_t first_sample, int64_t count, int64_t first_in_step,
                               TokenBatch& batch) {
  impl_->train(first_sample, count, first_in_step, batch);
}

void TrainingData::validation_batch(int64_t first_sample, int64_t count, TokenBatch& batch) {
  impl_->validation(first_sample, count, batch);
}

bool TrainingData::has_validation() const { return validation_samples() > 0; }

int64_t TrainingData::validation_samples() const { return impl_->validation_samples(); }

std::string TrainingData::summary() const {
  return impl_->table() + fmt::format("\nvalidation on up to {} samples", validation_samples());
}

}  // namespace triax
