#include "triax/data/gpt_loader.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax {
namespace {

GptLoaderOptions check_options(GptLoaderOptions options) {
  const bool needs_eod = options.eod_mask_loss || options.reset_positions || options.reset_attention_mask;
  check(!needs_eod || options.eod >= 0,
        "masks and positions at the ends of documents need a token that ends them, and the tokenizer has none");
  return options;
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

GptLoader::GptLoader(GptLoaderOptions options)
    : options_(check_options(std::move(options))),
      sets_(options_.sources, options_.num_samples,
            [this](const DataSource& source, int64_t num_samples) { return open_source(options_, source, num_samples); }) {}

std::string GptLoader::blend_table() const {
  const auto counts = sets_.samples_per_dataset();
  size_t width = 7;
  for (const GptDataset& set : sets_.datasets()) width = std::max(width, set.data().path().string().size());
  std::string table = fmt::format("{:<{}}  {:>10}  {:>8}  {:>10}  {:>13}  {:>7}", "dataset", width, "tokens", "share", "samples",
                                  "tokens to see", "epochs");
  for (size_t d = 0; d < counts.size(); ++d) {
    const IndexedDataset& data = sets_.datasets()[d].data();
    const SequenceRange range = sets_.datasets()[d].options().range;
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
  sets_.check_range(first, count);
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
  const auto [data, number] = sets_.at(sample);
  const int64_t have = data.sample(number, tokens);
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
