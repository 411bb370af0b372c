#include "triax/data/gpt_index.h"

#include <unistd.h>

#include <bit>
#include <limits>
#include <numeric>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/text.h"
#include "triax/data/index_file.h"

namespace triax {
namespace fs = std::filesystem;
namespace {

constexpr double kSeparateBelow = 0.80;

// A number in [0, largest], by drawing as many bits as it needs until one fits: what NumPy's legacy
// generator does, and so what the order of the data depends on.
uint32_t bounded(uint32_t largest, std::mt19937& random) {
  const uint32_t mask = largest == 0 ? 0 : std::numeric_limits<uint32_t>::max() >> std::countl_zero(largest);
  for (;;) {
    const uint32_t value = static_cast<uint32_t>(random()) & mask;
    if (value <= largest) return value;
  }
}

template <typename T>
void shuffle_from_the_top(std::span<T> values, std::mt19937& random) {
  check(values.size() < std::numeric_limits<uint32_t>::max(), "{} values are too many to shuffle", values.size());
  for (size_t i = values.size(); i-- > 1;) std::swap(values[i], values[bounded(static_cast<uint32_t>(i), random)]);
}

int64_t tokens_in(const IndexedDataset& data, SequenceRange range) {
  int64_t tokens = 0;
  for (int64_t i = range.begin; i < range.end; ++i) tokens += data.length(i);
  return tokens;
}

}  // namespace

void numpy_shuffle(std::span<int32_t> values, std::mt19937& random) { shuffle_from_the_top(values, random); }
void numpy_shuffle(std::span<uint32_t> values, std::mt19937& random) { shuffle_from_the_top(values, random); }

EpochPlan plan_epochs(int64_t tokens_per_epoch, int64_t num_samples, int64_t seq_length) {
  EpochPlan plan;
  if (num_samples > 0) {
    const int64_t tokens = num_samples * seq_length + 1;
    plan.epochs = (tokens + tokens_per_epoch - 1) / tokens_per_epoch;
  }
  if (plan.epochs == 1) return plan;
  plan.samples_before_last = ((plan.epochs - 1) * tokens_per_epoch - 1) / seq_length;
  const int64_t samples_of_one = (tokens_per_epoch - 1) / seq_length;
  plan.separate_last = num_samples - plan.samples_before_last <
                       static_cast<int64_t>(kSeparateBelow * static_cast<double>(samples_of_one));
  return plan;
}

namespace {

struct IndexSize {
  EpochPlan plan;
  int64_t samples = 0;
};

// How large the index will be; an error that says so when that is beyond reason.
IndexSize size_index(const IndexedDataset& data, const GptDatasetOptions& options) {
  const std::string name = data.path().string();
  const SequenceRange range = options.range;
  check(options.seq_length > 0 && options.seq_length < std::numeric_limits<int32_t>::max(),
        "{}: a sequence length of {} is not possible", name, options.seq_length);
  check(options.num_samples >= 0, "{}: {} samples cannot be asked for", name, options.num_samples);
  check(range.begin >= 0 && range.begin <= range.end && range.end <= data.num_sequences(),
        "{}: documents {} to {} were asked for, of {}", name, range.begin, range.end, data.num_sequences());
  check(range.end <= std::numeric_limits<int32_t>::max(), "{}: has more than 2^31 documents; split the dataset", name);
  const int64_t tokens = tokens_in(data, range);
  check(tokens >= 2, "{}: the {} documents from {} on have {} tokens in all, too few for a sample; give this split a larger share",
        name, range.end - range.begin, range.begin, tokens);
  constexpr auto kMost = static_cast<int64_t>(std::numeric_limits<uint32_t>::max()) - 1;
  const auto too_many = [&](double epochs) {
    fail("{}: {} samples of {} tokens would go {} times through its {} tokens, more than an index can hold; "
         "ask for fewer samples, or add data",
         name, options.num_samples, options.seq_length, format_count(epochs), format_count(static_cast<double>(tokens)));
  };
  const double epochs = static_cast<double>(options.num_samples) * static_cast<double>(options.seq_length) /
                        static_cast<double>(tokens);
  if (options.num_samples > kMost || (epochs + 1) * static_cast<double>(range.end - range.begin) > static_cast<double>(kMost))
    too_many(epochs);
  IndexSize size;
  size.plan = plan_epochs(tokens, options.num_samples, options.seq_length);
  const int64_t usable = size.plan.epochs * tokens - 1;
  size.samples = options.keep_partial ? (usable + options.seq_length - 1) / options.seq_length : usable / options.seq_length;
  if (size.samples > kMost) too_many(static_cast<double>(size.plan.epochs));
  check(size.samples > 0,
        "{}: the {} documents from {} on have {} tokens in all, fewer than one sample of {} needs; give this "
        "split a larger share or shorten the sequence",
        name, range.end - range.begin, range.begin, tokens, options.seq_length + 1);
  const double bytes = 4.0 * static_cast<double>(size.plan.epochs) * static_cast<double>(range.end - range.begin) +
                       12.0 * static_cast<double>(size.samples);
  const double memory = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGE_SIZE));
  check(memory <= 0 || bytes <= memory,
        "{}: the index of {} samples over {} epochs would take {}, more than this machine's memory of {}; ask for "
        "fewer samples, or split the dataset",
        name, size.samples, size.plan.epochs, format_bytes(bytes), format_bytes(memory));
  return size;
}

std::vector<int32_t> order_documents(SequenceRange range, const EpochPlan& plan, std::mt19937& random) {
  const auto count = static_cast<size_t>(range.end - range.begin);
  std::vector<int32_t> order(count * static_cast<size_t>(plan.epochs));
  for (size_t epoch = 0; epoch < static_cast<size_t>(plan.epochs); ++epoch)
    std::iota(order.begin() + static_cast<ptrdiff_t>(epoch * count),
              order.begin() + static_cast<ptrdiff_t>((epoch + 1) * count), static_cast<int32_t>(range.begin));
  const std::span<int32_t> all(order);
  const size_t first = plan.separate_last ? order.size() - count : order.size();
  numpy_shuffle(all.first(first), random);
  if (plan.separate_last) numpy_shuffle(all.subspan(first), random);
  return order;
}

// Walks the documents in their order and notes the place of every L-th token.
std::vector<SampleRow> place_samples(const IndexedDataset& data, std::span<const int32_t> order, int64_t samples,
                                     int64_t seq_length) {
  std::vector<SampleRow> rows(static_cast<size_t>(samples) + 1);
  size_t document = 0;
  int64_t offset = 0;
  int64_t length = data.length(order[0]);
  for (size_t r = 1; r < rows.size(); ++r) {
    int64_t remaining = seq_length;
    while (remaining >= length - offset && document + 1 < order.size()) {
      remaining -= length - offset;
      offset = 0;
      length = data.length(order[++document]);
    }
    // Beyond the last token only for a partial sample, which ends there.
    offset = std::min(offset + remaining, length - 1);
    rows[r] = {static_cast<uint32_t>(document), static_cast<int32_t>(offset)};
  }
  return rows;
}

std::vector<uint32_t> order_samples(int64_t samples, const EpochPlan& plan, std::mt19937& random) {
  std::vector<uint32_t> order(static_cast<size_t>(samples));
  std::iota(order.begin(), order.end(), 0u);
  const std::span<uint32_t> all(order);
  const auto first = static_cast<size_t>(plan.separate_last ? plan.samples_before_last : samples);
  numpy_shuffle(all.first(first), random);
  if (plan.separate_last) numpy_shuffle(all.subspan(first), random);
  return order;
}

}  // namespace

GptIndexArrays build_gpt_index(const IndexedDataset& data, const GptDatasetOptions& options) {
  const IndexSize size = size_index(data, options);
  std::mt19937 random(options.seed);
  GptIndexArrays arrays;
  arrays.epochs = size.plan.epochs;
  arrays.documents = order_documents(options.range, size.plan, random);
  arrays.rows = place_samples(data, arrays.documents, size.samples, options.seq_length);
  arrays.shuffle = order_samples(size.samples, size.plan, random);
  return arrays;
}

std::string describe_gpt_index(const IndexedDataset& data, const GptDatasetOptions& options) {
  return fmt::format("triax gpt index 1; dataset {} of {} sequences, {} tokens; range {} {}; samples {}; length {}; seed {}; partial {}",
                     hex64(data.index_hash()), data.num_sequences(), data.num_tokens(), options.range.begin,
                     options.range.end, options.num_samples, options.seq_length, options.seed,
                     options.keep_partial ? "kept" : "dropped");
}

namespace {

constexpr const char* kGptMagic = "TRXGPTI1";
static_assert(sizeof(SampleRow) == 8);

}  // namespace

// Arrays of the file: rows, documents, shuffle; the numbers count documents before rows.
void write_gpt_index(const fs::path& path, const std::string& description, const GptIndexArrays& arrays) {
  const uint64_t numbers[] = {static_cast<uint64_t>(arrays.epochs), arrays.documents.size(), arrays.rows.size(), arrays.shuffle.size()};
  write_index_file(path, kGptMagic, numbers, description,
                   {std::as_bytes(std::span(arrays.rows)), std::as_bytes(std::span(arrays.documents)), std::as_bytes(std::span(arrays.shuffle))});
}

std::optional<MappedGptIndex> open_gpt_index(const fs::path& path, const std::string& description) {
  auto file = open_index_file(path, kGptMagic, {0, sizeof(int32_t), sizeof(SampleRow), sizeof(uint32_t)}, description);
  if (!file) return std::nullopt;
  const auto& numbers = file->numbers;
  if (numbers[3] + 1 != numbers[2]) return warn_of_index(path, "is cut short or damaged"), std::nullopt;
  MappedGptIndex index;
  index.epochs = static_cast<int64_t>(numbers[0]);
  const std::byte* at = file->arrays;
  index.rows = {reinterpret_cast<const SampleRow*>(at), numbers[2]};
  at += index.rows.size_bytes();
  index.documents = {reinterpret_cast<const int32_t*>(at), numbers[1]};
  at += index.documents.size_bytes();
  index.shuffle = {reinterpret_cast<const uint32_t*>(at), numbers[3]};
  index.file = std::move(file->file);
  return index;
}

}  // namespace triax
