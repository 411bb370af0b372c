#include "triax/data/gpt_index.h"

#include <unistd.h>

#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/log.h"
#include "triax/base/text.h"

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

// The file: this header, the description padded to 8 bytes, rows, documents, shuffle.
namespace {

constexpr char kMagic[8] = {'T', 'R', 'X', 'G', 'P', 'T', 'I', '1'};

struct FileHeader {
  char magic[8];
  uint64_t checksum;  // of all that follows this field
  uint64_t description_bytes, epochs, documents, rows, shuffle;
};
static_assert(sizeof(FileHeader) == 56 && sizeof(SampleRow) == 8);

uint64_t padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

}  // namespace

void write_gpt_index(const fs::path& path, const std::string& description, const GptIndexArrays& arrays) {
  FileHeader header{{}, 0, description.size(), static_cast<uint64_t>(arrays.epochs), arrays.documents.size(),
                    arrays.rows.size(), arrays.shuffle.size()};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  const std::string text = description + std::string(padded(description.size()) - description.size(), '\0');
  const auto for_each_part = [&](auto&& use) {
    use(&header.description_bytes, sizeof header - 16);
    use(text.data(), text.size());
    use(arrays.rows.data(), arrays.rows.size() * sizeof(SampleRow));
    use(arrays.documents.data(), arrays.documents.size() * sizeof(int32_t));
    use(arrays.shuffle.data(), arrays.shuffle.size() * sizeof(uint32_t));
  };
  Hasher hasher;
  for_each_part([&](const void* data, size_t bytes) { hasher.update(data, bytes); });
  header.checksum = hasher.digest();
  fs::create_directories(path.parent_path());
  FileWriter out(path);
  out.write(&header, 16);
  for_each_part([&](const void* data, size_t bytes) { out.write(data, bytes); });
  out.commit();
}

std::optional<MappedGptIndex> open_gpt_index(const fs::path& path, const std::string& description) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  MappedGptIndex index;
  index.file = MappedFile(path);
  index.file.populate();
  const auto bytes = index.file.bytes();
  const auto refuse = [&](const char* why) {
    log_warning("{}: {}; the index is built again", path.string(), why);
    return std::nullopt;
  };
  FileHeader header;
  if (bytes.size() < sizeof header) return refuse("is cut short");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return refuse("is not an index of triax");
  uint64_t room = bytes.size() - sizeof header;
  const auto take = [&](uint64_t count, uint64_t item) {
    const bool fits = count <= room / item;
    if (fits) room -= count * item;
    return fits;
  };
  const uint64_t text_bytes = header.description_bytes <= room ? padded(header.description_bytes) : room + 1;
  if (!take(text_bytes, 1) || !take(header.rows, sizeof(SampleRow)) || !take(header.documents, 4) ||
      !take(header.shuffle, 4) || room != 0 || header.shuffle + 1 != header.rows)
    return refuse("is cut short or damaged");
  if (hash64(bytes.data() + 16, bytes.size() - 16) != header.checksum) return refuse("is damaged (wrong checksum)");
  if (index.file.text().substr(sizeof header, header.description_bytes) != description)
    return refuse("is the index of something else");
  const std::byte* at = bytes.data() + sizeof header + text_bytes;
  index.epochs = static_cast<int64_t>(header.epochs);
  index.rows = {reinterpret_cast<const SampleRow*>(at), header.rows};
  at += index.rows.size_bytes();
  index.documents = {reinterpret_cast<const int32_t*>(at), header.documents};
  at += index.documents.size_bytes();
  index.shuffle = {reinterpret_cast<const uint32_t*>(at), header.shuffle};
  return index;
}

}  // namespace triax
