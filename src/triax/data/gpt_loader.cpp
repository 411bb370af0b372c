#include "triax/data/gpt_loader.h"

#include <algorithm>
#include <cmath>

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax {
namespace {

// What a dataset of a blend is built for beyond its share, since the greedy choice may run a little
// ahead of it.
constexpr double kSurplus = 0.005;

int64_t share_of(int64_t samples, double share) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(samples) * share));
}

void check_options(const GptLoaderOptions& options) {
  check(!options.sources.empty(), "no dataset was given to train on");
  const bool needs_eod = options.eod_mask_loss || options.reset_positions || options.reset_attention_mask;
  check(!needs_eod || options.eod >= 0,
        "masks and positions at the ends of documents need a token that ends them, and the tokenizer has none");
}

GptDataset open_source(const GptLoaderOptions& options, const DataSource& source, int64_t num_samples) {
  const IndexedDataset data(source.path);
  const auto ranges = split_ranges(options.split, data.num_sequences());
  const SequenceRange range = ranges[static_cast<size_t>(options.part)];
  check(range.begin < range.end, "{}: its {} documents leave none for the {} part of the split \"{}\"; give it a larger share, or add documents",
        data.path().string(), data.num_sequences(), split_name(options.part), options.split);
  return GptDataset(data, {.range = range,
                           .num_samples = num_samples,
                           .seq_length = options.seq_length,
                           .seed = options.seed,
                           .keep_partial = options.keep_partial,
                           .cache_directory = options.cache_directory,
                           .use_cache = options.use_cache});
}

}  // namespace

void check_sample_range(int64_t first, int64_t count, int64_t num_samples) {
  check(first >= 0 && count >= 0 && count <= num_samples && first <= num_samples - count,
        "samples {} to {} of the training order were asked for, but it was built for {}; build it for as many as "
        "the training takes",
        first, first + count, num_samples);
}

GptLoader::GptLoader(GptLoaderOptions options) : options_(std::move(options)) {
  check_options(options_);
  const auto& sources = options_.sources;
  if (sources.size() == 1) {
    datasets_.push_back(open_source(options_, sources[0], options_.num_samples));
    return;
  }
  std::vector<double> weights;
  for (const DataSource& source : sources) weights.push_back(source.weight);
  if (std::all_of(weights.begin(), weights.end(), [](double w) { return w == 0; })) {
    std::vector<int64_t> sizes;
    for (const DataSource& source : sources) {
      datasets_.push_back(open_source(options_, source, 0));
      sizes.push_back(datasets_.back().num_samples());
    }
    blend_ = blend_everything(sizes);
    check(num_samples() >= options_.num_samples,
          "the datasets have {} samples in all, but {} were asked for; give them weights, so that they are gone through more than once",
          num_samples(), options_.num_samples);
    return;
  }
  check(options_.num_samples > 0, "datasets with weights need a number of samples to be blended for");
  int64_t total = 0;
  for (const double share : normalized_weights(weights)) total += share_of(options_.num_samples, share);
  blend_ = blend_by_weight(weights, total);
  const auto shares = normalized_weights(weights);
  for (size_t d = 0; d < sources.size(); ++d) {
    check(shares[d] > 0, "{}: has the weight 0; leave it out, or give it a positive one", sources[d].path.string());
    const auto wanted = static_cast<double>(share_of(options_.num_samples, shares[d]));
    datasets_.push_back(open_source(options_, sources[d], static_cast<int64_t>(std::ceil(wanted * (1 + kSurplus)))));
  }
  const auto used = samples_per_dataset();
  for (size_t d = 0; d < datasets_.size(); ++d)
    check(used[d] <= datasets_[d].num_samples(), "{}: the blend takes {} samples of its {}; raise its weight a little",
          sources[d].path.string(), used[d], datasets_[d].num_samples());
}

int64_t GptLoader::num_samples() const {
  return datasets_.size() == 1 && blend_.dataset.empty() ? datasets_[0].num_samples()
                                                         : static_cast<int64_t>(blend_.dataset.size());
}

std::vector<int64_t> GptLoader::samples_per_dataset() const {
  std::vector<int64_t> counts(datasets_.size());
  if (blend_.dataset.empty() && datasets_.size() == 1) counts[0] = num_samples();
  for (const uint16_t d : blend_.dataset) ++counts[d];
  return counts;
}

std::string GptLoader::blend_table() const {
  const auto counts = samples_per_dataset();
  size_t width = 7;
  for (const GptDataset& set : datasets_) width = std::max(width, set.data().path().string().size());
  std::string table = fmt::format("{:<{}}  {:>10}  {:>8}  {:>10}  {:>13}  {:>7}", "dataset", width, "tokens", "share", "samples",
                                  "tokens to see", "epochs");
  for (size_t d = 0; d < datasets_.size(); ++d) {
    const IndexedDataset& data = datasets_[d].data();
    const SequenceRange range = datasets_[d].options().range;
    double tokens = 0;
    for (int64_t i = range.begin; i < range.end; ++i) tokens += data.length(i);
    const auto samples = static_cast<double>(counts[d]), seen = samples * static_cast<double>(options_.seq_length);
    table += fmt::format("\n{:<{}}  {:>10}  {:>6.2f} %  {:>10}  {:>13}  {:>7.2f}", data.path().string(), width, format_count(tokens),
                         100 * samples / static_cast<double>(std::max<int64_t>(num_samples(), 1)), counts[d], format_count(seen),
                         seen / std::max(tokens, 1.0));
  }
  return table;
}

void GptLoader::batch(int64_t first, int64_t count, GptBatch& batch) const {
  check_sample_range(first, count, num_samples());
  const auto size = static_cast<size_t>(count * options_.seq_length);
  batch.count = count;
  batch.seq_length = options_.seq_length;
  batch.tokens.resize(size);
  batch.labels.resize(size);
  batch.positions.resize(size);
  batch.loss_mask.resize(size);
  batch.spans.clear();
  thread_local std::vector<int32_t> tokens;
  tokens.resize(static_cast<size_t>(options_.seq_length) + 1);
  for (int64_t row = 0; row < count; ++row) load(first + row, tokens, batch, row);
}

void GptLoader::load(int64_t sample, std::span<int32_t> tokens, GptBatch& batch, int64_t row) const {
  const auto k = static_cast<size_t>(sample);
  const GptDataset& data = blend_.dataset.empty() ? datasets_[0] : datasets_[blend_.dataset[k]];
  const int64_t have = data.sample(blend_.dataset.empty() ? sample : int64_t{blend_.sample[k]}, tokens);
  const int64_t length = options_.seq_length, begin = row * length;
  // The last token of a partial sample has no successor: it is an input without a label.
  std::fill(tokens.begin() + have, tokens.end(), 0);
  if (options_.vocab_size > 0) {
    const auto [least, most] = std::minmax_element(tokens.begin(), tokens.end());
    check(*least >= 0 && *most < options_.vocab_size,
          "{}: holds token {}, but the vocabulary has {}; the data was packed with another tokenizer",
          data.data().path().string(), *least < 0 ? *least : *most, options_.vocab_size);
  }
  std::copy_n(tokens.begin(), length, batch.tokens.begin() + begin);
  std::copy_n(tokens.begin() + 1, length, batch.labels.begin() + begin);
  int64_t document = 0, position = 0;  // where the current document begins, in this sample
  for (int64_t i = 0; i < length; ++i) {
    const bool is_eod = i < have && tokens[static_cast<size_t>(i)] == options_.eod;
    const auto at = static_cast<size_t>(begin + i);
    batch.loss_mask[at] = i + 1 < have && !(options_.eod_mask_loss && is_eod) ? 1.0f : 0.0f;
    batch.positions[at] = static_cast<int32_t>(position++);
    if (is_eod && options_.reset_positions) position = 0;
    if (is_eod && options_.reset_attention_mask) {
      batch.spans.push_back({begin + document, i + 1 - document});
      document = i + 1;
    }
  }
  const int64_t filled = std::min(have, length);
  if (document < filled) batch.spans.push_back({begin + document, filled - document});
}

}  // namespace triax
