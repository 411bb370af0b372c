#include "triax/data/gpt_dataset.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/hash.h"
#include "triax/base/log.h"
#include "triax/base/text.h"
#include "triax/data/gpt_index.h"

namespace triax {
namespace fs = std::filesystem;

const char* split_name(Split split) {
  switch (split) {
    case Split::train: return "train";
    case Split::valid: return "valid";
    case Split::test: return "test";
  }
  return "?";
}

std::array<SequenceRange, 3> split_ranges(std::string_view shares, int64_t num_sequences) {
  std::array<double, 3> share{};
  const auto parts = split(shares, ',');
  check(parts.size() <= 3, "split \"{}\": there are three parts, train, validation and test, such as 969,30,1", shares);
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string_view part = trim(parts[i]);
    const auto [end, status] = std::from_chars(part.data(), part.data() + part.size(), share[i]);
    check(status == std::errc() && end == part.data() + part.size() && share[i] >= 0 && std::isfinite(share[i]),
          "split \"{}\": \"{}\" is not a share; write three numbers such as 969,30,1", shares, part);
  }
  const double total = share[0] + share[1] + share[2];
  check(total > 0, "split \"{}\": the shares are all zero", shares);
  std::array<SequenceRange, 3> ranges;
  double from = 0;
  for (size_t i = 0; i < 3; ++i) {
    const double to = from + share[i] / total;
    // nearbyint rounds halves to even, as Python does.
    const auto border = [&](double at) { return static_cast<int64_t>(std::nearbyint(at * static_cast<double>(num_sequences))); };
    ranges[i] = to > from ? SequenceRange{border(from), std::min(border(to), num_sequences)} : SequenceRange{};
    from = to;
  }
  return ranges;
}

struct GptDataset::Index {
  GptIndexArrays owned;    // when the cache cannot be used
  MappedGptIndex mapped;
  fs::path file;
  int64_t epochs = 1;
  std::span<const int32_t> documents;
  std::span<const SampleRow> rows;
  std::span<const uint32_t> shuffle;

  void use(GptIndexArrays arrays) {
    owned = std::move(arrays);
    epochs = owned.epochs, documents = owned.documents, rows = owned.rows, shuffle = owned.shuffle;
  }
  void use(MappedGptIndex index, const fs::path& path) {
    mapped = std::move(index);
    file = path;
    epochs = mapped.epochs, documents = mapped.documents, rows = mapped.rows, shuffle = mapped.shuffle;
  }
};

namespace {

fs::path cache_directory(const IndexedDataset& data, const GptDatasetOptions& options) {
  return options.cache_directory.empty() ? fs::path(data.path().string() + "-cache") : options.cache_directory;
}

}  // namespace

GptDataset::GptDataset(IndexedDataset data, GptDatasetOptions options)
    : data_(std::move(data)), options_(std::move(options)), index_(std::make_unique<Index>()) {
  if (!options_.use_cache) {
    index_->use(build_gpt_index(data_, options_));
    return;
  }
  const std::string description = describe_gpt_index(data_, options_);
  const fs::path file = cache_directory(data_, options_) / ("gpt-" + hex64(hash64(description)) + ".index");
  auto found = open_gpt_index(file, description);
  if (!found) {
    GptIndexArrays arrays = build_gpt_index(data_, options_);
    try {
      write_gpt_index(file, description, arrays);
    } catch (const std::exception& error) {
      log_warning("the index of {} cannot be kept ({}), and will be built again each time; name another folder for it",
                  data_.path().string(), error.what());
      index_->use(std::move(arrays));
      return;
    }
    found = open_gpt_index(file, description);
    check(found.has_value(), "{}: cannot be read back after it was written; check the disk", file.string());
  }
  index_->use(std::move(*found), file);
}

GptDataset::~GptDataset() = default;
GptDataset::GptDataset(GptDataset&&) noexcept = default;
GptDataset& GptDataset::operator=(GptDataset&&) noexcept = default;

int64_t GptDataset::num_samples() const { return static_cast<int64_t>(index_->shuffle.size()); }
int64_t GptDataset::num_epochs() const { return index_->epochs; }
std::span<const int32_t> GptDataset::document_index() const { return index_->documents; }
std::span<const SampleRow> GptDataset::sample_index() const { return index_->rows; }
std::span<const uint32_t> GptDataset::shuffle_index() const { return index_->shuffle; }
const fs::path& GptDataset::cache_file() const { return index_->file; }

int64_t GptDataset::sample(int64_t k, std::span<int32_t> out) const {
  check(k >= 0 && k < num_samples(), "{}: sample {} was asked for, of {}", data_.path().string(), k, num_samples());
  check(static_cast<int64_t>(out.size()) == options_.seq_length + 1, "room for {} tokens was given, not {}", out.size(),
        options_.seq_length + 1);
  const size_t r = index_->shuffle[static_cast<size_t>(k)];
  const SampleRow begin = index_->rows[r], end = index_->rows[r + 1];
  size_t filled = 0;
  for (size_t d = begin.document; d <= end.document; ++d) {
    const int32_t document = index_->documents[d];
    const int64_t from = d == begin.document ? begin.offset : 0;
    const int64_t to = d == end.document ? int64_t{end.offset} + 1 : data_.length(document);
    const auto count = static_cast<size_t>(to - from);
    data_.read(document, from, out.subspan(filled, std::min(count, out.size() - filled)));
    filled += count;
  }
  return static_cast<int64_t>(filled);
}

}  // namespace triax
