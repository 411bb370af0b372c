#include "triax/data/bert_loader.h"

#include <algorithm>
#include <cmath>

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

BertLoader::BertLoader(BertLoaderOptions options, const BertVocabulary& vocabulary) : options_(std::move(options)) {
  const auto& sources = options_.sources;
  check(!sources.empty(), "no dataset was given to train on");
  if (sources.size() == 1) {
    datasets_.push_back(open_source(options_, vocabulary, sources[0], options_.num_samples));
    return;
  }
  std::vector<double> weights;
  for (const DataSource& source : sources) weights.push_back(source.weight);
  if (std::all_of(weights.begin(), weights.end(), [](double w) { return w == 0; })) {
    std::vector<int64_t> sizes;
    for (const DataSource& source : sources) {
      datasets_.push_back(open_source(options_, vocabulary, source, 0));
      sizes.push_back(datasets_.back().num_samples());
    }
    blend_ = blend_everything(sizes);
    return;
  }
  check(options_.num_samples > 0, "datasets with weights need a number of samples to be blended for");
  blend_ = blend_by_weight(weights, options_.num_samples);
  for (size_t d = 0; d < sources.size(); ++d) {
    check(weights[d] > 0, "{}: has the weight 0; leave it out, or give it a positive one", sources[d].path.string());
    const auto used = std::count(blend_.dataset.begin(), blend_.dataset.end(), static_cast<uint16_t>(d));
    datasets_.push_back(open_source(options_, vocabulary, sources[d], used));
  }
}

int64_t BertLoader::num_samples() const {
  return blend_.dataset.empty() ? datasets_[0].num_samples() : static_cast<int64_t>(blend_.dataset.size());
}

std::string BertLoader::blend_table() const {
  size_t width = 7;
  for (const BertDataset& set : datasets_) width = std::max(width, set.data().path().string().size());
  std::string table = fmt::format("{:<{}}  {:>10}  {:>10}  {:>8}  {:>10}  {:>7}", "dataset", width, "documents", "sentences", "share",
                                  "samples", "epochs");
  for (size_t d = 0; d < datasets_.size(); ++d) {
    const BertDataset& set = datasets_[d];
    const SequenceRange range = set.options().documents;
    const int64_t samples = blend_.dataset.empty() ? set.num_samples()
                                                   : std::count(blend_.dataset.begin(), blend_.dataset.end(), static_cast<uint16_t>(d));
    const int64_t sentences = set.data().document_begin(range.end) - set.data().document_begin(range.begin);
    table += fmt::format("\n{:<{}}  {:>10}  {:>10}  {:>6.2f} %  {:>10}  {:>7.2f}", set.data().path().string(), width,
                         range.end - range.begin, sentences,
                         100 * static_cast<double>(samples) / static_cast<double>(std::max<int64_t>(num_samples(), 1)), samples,
                         static_cast<double>(samples) / static_cast<double>(set.samples_of_an_epoch()));
  }
  return table;
}

void BertLoader::batch(int64_t first, int64_t count, BertBatch& batch) const {
  check_sample_range(first, count, num_samples());
  if (blend_.dataset.empty()) return datasets_[0].batch(first, count, batch);
  batch.clear(options_.samples.seq_length);
  for (int64_t i = first; i < first + count; ++i)
    datasets_[blend_.dataset[static_cast<size_t>(i)]].append(blend_.sample[static_cast<size_t>(i)], batch);
}

}  // namespace triax
