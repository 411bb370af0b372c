#include "triax/data/bert_dataset.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/log.h"
#include "triax/data/bert_index.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kSpecialTokens = 3;     // [CLS] and two [SEP]
constexpr int64_t kLeastSentences = 2;    // one for A, one for B
constexpr int32_t kLongestSentence = 512; // a document with a longer one is left out
constexpr double kMasked = 0.8, kReplaced = 0.1;  // the rest stays as it is

}  // namespace

BertVocabulary bert_vocabulary(const Tokenizer& tokenizer) {
  const SpecialTokens& special = tokenizer.special_tokens();
  const auto need = [&](const std::optional<int32_t>& id, const char* name) {
    check(id.has_value(), "the {} vocabulary has no {} token, which BERT needs; use a BERT vocabulary", tokenizer.kind(), name);
    return *id;
  };
  BertVocabulary vocabulary;
  vocabulary.cls = need(special.cls, "[CLS]");
  vocabulary.sep = need(special.sep, "[SEP]");
  vocabulary.mask = need(special.mask, "[MASK]");
  vocabulary.pad = need(special.pad, "[PAD]");
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    vocabulary.starts_word.push_back(tokenizer.starts_word(id) ? 1 : 0);
    if (!tokenizer.is_special(id)) vocabulary.replacements.push_back(id);
  }
  check(!vocabulary.replacements.empty(), "the vocabulary has no tokens but special ones");
  return vocabulary;
}

namespace {

// Draws the lengths that samples aim at.
class TargetLength {
 public:
  TargetLength(int64_t most, double short_probability, uint32_t seed)
      : most_(static_cast<int32_t>(most)),
        ratio_(short_probability > 0 ? static_cast<uint32_t>(std::lround(1 / short_probability)) : 0),
        random_(seed) {}
  int32_t next() {
    if (ratio_ == 0) return most_;
    const auto value = static_cast<uint32_t>(random_());
    return value % ratio_ == 0 ? static_cast<int32_t>(2 + value % static_cast<uint32_t>(most_ - 1)) : most_;
  }

 private:
  int32_t most_;
  uint32_t ratio_;
  std::mt19937 random_;
};

bool usable(const IndexedDataset& data, int64_t first, int64_t end) {
  if (end - first < kLeastSentences) return false;
  for (int64_t s = first; s < end; ++s)
    if (data.length(s) > kLongestSentence) return false;
  return true;
}

void map_document(const IndexedDataset& data, int64_t first, int64_t end, TargetLength& target, std::vector<BertRow>& rows) {
  int32_t wanted = target.next();
  int64_t begin = first, tokens = 0;
  for (int64_t s = first; s < end; ++s) {
    tokens += data.length(s);
    const int64_t left = end - s - 1;
    // Never leave a single sentence behind.
    const bool full = tokens >= wanted && left > 1 && s + 1 - begin >= kLeastSentences;
    if (!full && left > 0) continue;
    rows.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(s + 1), wanted});
    begin = s + 1;
    tokens = 0;
    wanted = target.next();
  }
}

}  // namespace

std::vector<BertRow> build_bert_mapping(const IndexedDataset& data, const BertDatasetOptions& options,
                                        int64_t* samples_of_an_epoch) {
  const std::string name = data.path().string();
  const SequenceRange range = options.documents;
  check(range.begin >= 0 && range.begin <= range.end && range.end <= data.num_documents(),
        "{}: documents {} to {} were asked for, of {}", name, range.begin, range.end, data.num_documents());
  check(data.num_sequences() <= std::numeric_limits<int32_t>::max(), "{}: has more than 2^31 sentences; split the dataset", name);
  check(options.seq_length >= kSpecialTokens + 2 && options.seq_length <= (int64_t{1} << 30),
        "a BERT sample of {} tokens is not possible; at least {} are needed", options.seq_length, kSpecialTokens + 2);
  check(options.short_probability >= 0 && options.short_probability <= 1, "a probability of {} is not possible",
        options.short_probability);
  check(options.num_samples >= 0 && options.num_samples < std::numeric_limits<uint32_t>::max(),
        "{}: {} samples are more than an index can hold", name, options.num_samples);
  TargetLength target(options.seq_length - kSpecialTokens, options.short_probability, options.seed);
  std::vector<BertRow> rows;
  do {
    const size_t before = rows.size();
    for (int64_t d = range.begin; d < range.end; ++d) {
      const int64_t first = data.document_begin(d), end = data.document_begin(d + 1);
      if (usable(data, first, end)) map_document(data, first, end, target, rows);
    }
    check(rows.size() > before,
          "{}: none of the documents {} to {} has two sentences of at most {} tokens; pack the text with --sentences, "
          "one document a record", name, range.begin, range.end, kLongestSentence);
    if (before == 0 && samples_of_an_epoch) *samples_of_an_epoch = static_cast<int64_t>(rows.size());
  } while (static_cast<int64_t>(rows.size()) < options.num_samples);
  std::mt19937_64 random(uint64_t{options.seed} + 1);
  for (size_t i = rows.size(); i-- > 1;) std::swap(rows[i], rows[random() % (i + 1)]);
  return rows;
}

struct BertDataset::Index {
  std::vector<BertRow> built;  // where it cannot be kept in a file
  MappedBertIndex mapped;
};

BertDataset::BertDataset(IndexedDataset data, BertVocabulary vocabulary, BertDatasetOptions options)
    : data_(std::move(data)), vocabulary_(std::move(vocabulary)), options_(std::move(options)), index_(std::make_unique<Index>()) {
  check(options_.mask_probability > 0 && options_.mask_probability < 1, "a masking probability of {} is not possible",
        options_.mask_probability);
  check(options_.max_ngram >= 1 && options_.max_ngram <= 16, "runs of {} words cannot be masked; use 1 to 16", options_.max_ngram);
  const std::string description = describe_bert_index(data_, options_);
  const fs::path folder = options_.cache_directory.empty() ? fs::path(data_.path().string() + "-cache") : options_.cache_directory;
  const fs::path file = folder / ("bert-" + hex64(hash64(description)) + ".index");
  if (options_.use_cache && use_file(file, description)) return;
  index_->built = build_bert_mapping(data_, options_, &samples_of_an_epoch_);
  rows_ = index_->built;
  if (!options_.use_cache) return;
  try {
    write_bert_index(file, description, rows_, samples_of_an_epoch_);
  } catch (const std::exception& error) {
    log_warning("the index of {} cannot be kept ({}), and will be built again each time; name another folder for it",
                data_.path().string(), error.what());
    return;
  }
  check(use_file(file, description), "{}: cannot be read back after it was written; check the disk", file.string());
}

BertDataset::~BertDataset() = default;
BertDataset::BertDataset(BertDataset&&) noexcept = default;
BertDataset& BertDataset::operator=(BertDataset&&) noexcept = default;

bool BertDataset::use_file(const fs::path& file, const std::string& description) {
  auto found = open_bert_index(file, description);
  if (!found) return false;
  index_->mapped = std::move(*found);
  index_->built = {};
  rows_ = index_->mapped.rows;
  samples_of_an_epoch_ = index_->mapped.samples_of_an_epoch;
  return true;
}

struct BertDataset::Pair {
  std::vector<int32_t> a, b;
  bool exchanged = false;
};

// Cuts the sentences of a row in two, exchanges the parts half of the time, and shortens the longer one
// at either end until both fit.
void BertDataset::read_pair(const BertRow& row, Philox& random, Pair& pair) const {
  pair.a.clear();
  pair.b.clear();
  const auto sentences = static_cast<uint64_t>(row.end - row.first);
  const auto in_a = static_cast<int32_t>(sentences > 2 ? 1 + random.next_below(sentences - 1) : 1);
  for (int32_t s = row.first; s < row.end; ++s) {
    std::vector<int32_t>& part = s - row.first < in_a ? pair.a : pair.b;
    const size_t before = part.size();
    part.resize(before + static_cast<size_t>(data_.length(s)));
    data_.read(s, 0, std::span(part).subspan(before));
  }
  pair.exchanged = random.next_below(2) == 1;
  if (pair.exchanged) std::swap(pair.a, pair.b);
  size_t begin_a = 0, begin_b = 0;
  while (pair.a.size() - begin_a + pair.b.size() - begin_b > static_cast<size_t>(row.target)) {
    const bool of_a = pair.a.size() - begin_a > pair.b.size() - begin_b;
    std::vector<int32_t>& longer = of_a ? pair.a : pair.b;
    if (random.next_below(2) == 0) {
      ++(of_a ? begin_a : begin_b);
    } else {
      longer.pop_back();
    }
  }
  pair.a.erase(pair.a.begin(), pair.a.begin() + static_cast<ptrdiff_t>(begin_a));
  pair.b.erase(pair.b.begin(), pair.b.begin() + static_cast<ptrdiff_t>(begin_b));
}

// Masks words of `tokens` (one sample, without padding).
void BertDataset::mask(std::span<int32_t> tokens, Philox& random, std::span<int32_t> labels, std::span<float> loss_mask) const {
  // words[w] .. words[w + 1] are the pieces of word w; special tokens are in none.
  thread_local std::vector<std::pair<size_t, size_t>> words;
  thread_local std::vector<size_t> order;
  words.clear();
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] == vocabulary_.cls || tokens[i] == vocabulary_.sep) continue;
    check(tokens[i] >= 0 && static_cast<size_t>(tokens[i]) < vocabulary_.starts_word.size(),
          "{}: holds token {}, but the vocabulary has {}; the data was packed with another tokenizer",
          data_.path().string(), tokens[i], vocabulary_.starts_word.size());
    const bool continues = options_.whole_words && !vocabulary_.starts_word[static_cast<size_t>(tokens[i])] &&
                           !words.empty() && words.back().second == i;
    if (continues) {
      words.back().second = i + 1;
    } else {
      words.push_back({i, i + 1});
    }
  }
  order.resize(words.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = order.size(); i-- > 1;) std::swap(order[i], order[random.next_below(i + 1)]);

  double ngram_total = 0;
  for (int n = 1; n <= options_.max_ngram; ++n) ngram_total += 1.0 / n;
  const auto share = static_cast<size_t>(std::lround(options_.mask_probability * static_cast<double>(tokens.size())));
  size_t budget = std::max<size_t>(1, share);
  for (const size_t first : order) {
    if (budget == 0) break;
    double draw = random.next_double() * ngram_total;
    size_t count = 1;
    while (count < static_cast<size_t>(options_.max_ngram) && (draw -= 1.0 / static_cast<double>(count)) >= 0) ++count;
    // As many of the words as follow each other, are free, and fit the budget.
    size_t begin = words[first].first, end = begin;
    for (size_t w = first; w < std::min(first + count, words.size()); ++w) {
      const bool free = loss_mask[words[w].first] == 0 && words[w].first == end && words[w].second - begin <= budget;
      if (!free) break;
      end = words[w].second;
    }
    for (size_t i = begin; i < end; ++i) {
      labels[i] = tokens[i];
      loss_mask[i] = 1;
      const double kind = random.next_double();
      if (kind < kMasked) {
        tokens[i] = vocabulary_.mask;
      } else if (kind < kMasked + kReplaced) {
        tokens[i] = vocabulary_.replacements[random.next_below(vocabulary_.replacements.size())];
      }
    }
    budget -= end - begin;
  }
}

void BertDataset::batch(int64_t first, int64_t count, BertBatch& batch) const {
  check(first >= 0 && count >= 0 && count <= num_samples() && first <= num_samples() - count,
        "{}: samples {} to {} were asked for, of {}", data_.path().string(), first, first + count, num_samples());
  batch.clear(options_.seq_length);
  for (int64_t s = 0; s < count; ++s) append(first + s, batch);
}

void BertBatch::clear(int64_t length) {
  count = 0;
  seq_length = length;
  for (std::vector<int32_t>* values : {&tokens, &types, &labels, &exchanged}) values->clear();
  loss_mask.clear();
  spans.clear();
}

void BertDataset::append(int64_t sample, BertBatch& batch) const {
  const size_t at = batch.tokens.size(), size = at + static_cast<size_t>(options_.seq_length);
  batch.tokens.resize(size, vocabulary_.pad);
  batch.types.resize(size, 0);
  batch.labels.resize(size, 0);
  batch.loss_mask.resize(size, 0.0f);
  ++batch.count;
  thread_local Pair pair;
  Philox random(options_.seed, static_cast<uint64_t>(sample));
  read_pair(rows_[static_cast<size_t>(sample)], random, pair);
  size_t end = at;
  batch.tokens[end++] = vocabulary_.cls;
  for (const int32_t token : pair.a) batch.tokens[end++] = token;
  batch.tokens[end++] = vocabulary_.sep;
  std::fill_n(batch.types.begin() + static_cast<ptrdiff_t>(end), pair.b.size() + 1, 1);
  for (const int32_t token : pair.b) batch.tokens[end++] = token;
  batch.tokens[end++] = vocabulary_.sep;
  const size_t filled = end - at;
  mask(std::span(batch.tokens).subspan(at, filled), random, std::span(batch.labels).subspan(at, filled),
       std::span(batch.loss_mask).subspan(at, filled));
  batch.exchanged.push_back(pair.exchanged ? 1 : 0);
  batch.spans.push_back({static_cast<int64_t>(at), static_cast<int64_t>(filled)});
}

}  // namespace triax
