// One dataset, or several blended, as one list of samples 0, 1, 2 ...
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "triax/base/error.h"
#include "triax/data/blend.h"

namespace triax {

// Dataset has num_samples() and data().path().
template <typename Dataset>
class BlendedDatasets {
 public:
  struct Place {
    const Dataset& data;
    int64_t sample;  // its number there
  };
  // Opens a dataset for at least so many samples; 0: one epoch.
  using Open = std::function<Dataset(const DataSource&, int64_t num_samples)>;

  // For at least num_samples; 0 (only without weights): one epoch of every dataset.
  BlendedDatasets(const std::vector<DataSource>& sources, int64_t num_samples, const Open& open) {
    check(!sources.empty(), "no dataset was given to train on");
    if (sources.size() == 1) {
      datasets_.push_back(open(sources[0], num_samples));
    } else if (has_no_weights(sources)) {
      open_all_once(sources, num_samples, open);
    } else {
      open_by_weight(sources, num_samples, open);
    }
  }

  const std::vector<Dataset>& datasets() const { return datasets_; }
  bool is_blend() const { return datasets_.size() > 1; }
  int64_t num_samples() const { return is_blend() ? static_cast<int64_t>(blend_.dataset.size()) : datasets_[0].num_samples(); }
  std::vector<int64_t> samples_per_dataset() const {
    std::vector<int64_t> counts(datasets_.size());
    if (!is_blend()) counts[0] = num_samples();
    for (const uint16_t d : blend_.dataset) ++counts[d];
    return counts;
  }
  // Throws Error unless samples [first, first + count) are among those that the order was built for.
  void check_range(int64_t first, int64_t count) const {
    check(first >= 0 && count >= 0 && count <= num_samples() && first <= num_samples() - count,
          "samples {} to {} of the training order were asked for, but it was built for {}; build it for as many as the training takes",
          first, first + count, num_samples());
  }
  Place at(int64_t sample) const {
    const auto k = static_cast<size_t>(sample);
    return is_blend() ? Place{datasets_[blend_.dataset[k]], int64_t{blend_.sample[k]}} : Place{datasets_[0], sample};
  }

 private:
  void open_all_once(const std::vector<DataSource>& sources, int64_t num_samples, const Open& open) {
    std::vector<int64_t> sizes;
    for (const DataSource& source : sources) sizes.push_back(datasets_.emplace_back(open(source, 0)).num_samples());
    blend_ = blend_everything(sizes);
    check(this->num_samples() >= num_samples,
          "the datasets have {} samples in all, but {} were asked for; give them weights, so that they are gone through more than once",
          this->num_samples(), num_samples);
  }

  void open_by_weight(const std::vector<DataSource>& sources, int64_t num_samples, const Open& open) {
    WeightedBlend blend = blend_by_weight(sources, num_samples);
    blend_ = std::move(blend.index);
    for (size_t d = 0; d < sources.size(); ++d) datasets_.push_back(open(sources[d], blend.sizes[d]));
    const auto used = samples_per_dataset();
    for (size_t d = 0; d < datasets_.size(); ++d)
      check(used[d] <= datasets_[d].num_samples(), "{}: the blend takes {} samples of its {}; raise its weight a little",
            sources[d].path.string(), used[d], datasets_[d].num_samples());
  }

  std::vector<Dataset> datasets_;
  BlendIndex blend_;  // empty for one dataset
};

}  // namespace triax
