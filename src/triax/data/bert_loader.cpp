#include "triax/data/bert_loader.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/text.h"

namespace triax {
namespace {

BertDataset open_source(const BertLoaderOptions& options, const BertVocabulary& vocabulary, const DataSource& source,
                        int64_t num_samples) {
  IndexedDataset data(source.path);
  BertDatasetOptions samples = options.samples;
  samples.documents = split_ranges(options.split, data.num_documents())[static_cast<size_t>(options.part)];
  samples.num_samples = num_samples;
  check(samples.documents.begin < samples.documents.end,
        "{}: its {} documents leave none for the {} part of the split \"{}\"; give it a larger share, or add documents",
        data.path().string(), data.num_documents(), split_name(options.part), options.split);
  return {std::move(data), vocabulary, samples};
}

}  // namespace

BertLoader::BertLoader(BertLoaderOptions options, const BertVocabulary& vocabulary)
    : options_(std::move(options)),
      sets_(options_.sources, options_.num_samples, [&](const DataSource& source, int64_t num_samples) {
        return open_source(options_, vocabulary, source, num_samples);
      }) {}

std::string BertLoader::blend_table() const {
  const auto counts = sets_.samples_per_dataset();
  size_t width = 7;
  for (const BertDataset& set : sets_.datasets()) width = std::max(width, set.data().path().string().size());
  std::string table = fmt::format("{:<{}}  {:>10}  {:>10}  {:>8}  {:>10}  {:>7}", "dataset", width, "documents", "sentences", "share",
                                  "samples", "epochs");
  for (size_t d = 0; d < counts.size(); ++d) {
    const BertDataset& set = sets_.datasets()[d];
    const SequenceRange range = set.options().documents;
    const int64_t sentences = set.data().document_begin(range.end) - set.data().document_begin(range.begin);
    table += fmt::format("\n{:<{}}  {:>10}  {:>10}  {:>6.2f} %  {:>10}  {:>7.2f}", set.data().path().string(), width,
                         range.end - range.begin, sentences,
                         100 * static_cast<double>(counts[d]) / static_cast<double>(std::max<int64_t>(num_samples(), 1)), counts[d],
                         static_cast<double>(counts[d]) / static_cast<double>(set.samples_of_an_epoch()));
  }
  return table;
}

void BertLoader::batch(int64_t first, int64_t count, BertBatch& batch) const {
  sets_.check_range(first, count);
  batch.clear(options_.samples.seq_length);
  for (int64_t i = first; i < first + count; ++i) {
    const auto [data, number] = sets_.at(i);
    data.append(number, batch);
  }
}

}  // namespace triax
