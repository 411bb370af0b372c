#include "triax/data/blend.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "triax/base/error.h"

namespace triax {
namespace {

constexpr size_t kMostDatasets = 32767;

// The error of a dataset at sample i is share * max(i, 1) - count; ties go to the lowest number.
// `still_has(d)` says whether it may be chosen.
template <typename StillHas>
BlendIndex blend(std::span<const double> shares, int64_t size, StillHas&& still_has) {
  check(!shares.empty() && shares.size() <= kMostDatasets, "{} datasets cannot be blended, only 1 to {}",
        shares.size(), kMostDatasets);
  check(size >= 0 && size < std::numeric_limits<uint32_t>::max(), "a blend of {} samples is too large", size);
  BlendIndex index;
  index.dataset.resize(static_cast<size_t>(size));
  index.sample.resize(static_cast<size_t>(size));
  std::vector<uint32_t> counts(shares.size());
  for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
    const double at = std::max(static_cast<double>(i), 1.0);
    size_t chosen = shares.size();
    double largest = 0;
    for (size_t d = 0; d < shares.size(); ++d) {
      if (!still_has(d, counts[d])) continue;
      const double error = shares[d] * at - static_cast<double>(counts[d]);
      if (chosen == shares.size() || error > largest) chosen = d, largest = error;
    }
    index.dataset[i] = static_cast<uint16_t>(chosen);
    index.sample[i] = counts[chosen]++;
  }
  return index;
}

}  // namespace

std::vector<double> normalized_weights(std::span<const double> weights) {
  double total = 0;
  for (const double weight : weights) {
    check(std::isfinite(weight) && weight >= 0, "a weight of {} is not possible; weights are positive numbers", weight);
    total += weight;
  }
  check(total > 0, "the weights are all zero; give at least one dataset a positive weight");
  std::vector<double> shares;
  for (const double weight : weights) shares.push_back(weight / total);
  return shares;
}

BlendIndex blend_by_weight(std::span<const double> weights, int64_t size) {
  const auto shares = normalized_weights(weights);
  // A weight of zero is never the largest error but against others of zero: keep it out for good.
  return blend(shares, size, [&](size_t d, uint32_t) { return shares[d] > 0; });
}

BlendIndex blend_everything(std::span<const int64_t> sizes) {
  const auto total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  std::vector<double> shares;
  for (const int64_t size : sizes) shares.push_back(static_cast<double>(size) / static_cast<double>(std::max<int64_t>(total, 1)));
  return blend(shares, total, [&](size_t d, uint32_t count) { return static_cast<int64_t>(count) < sizes[d]; });
}

bool has_no_weights(std::span<const DataSource> sources) {
  return std::all_of(sources.begin(), sources.end(), [](const DataSource& source) { return source.weight == 0; });
}

WeightedBlend blend_by_weight(std::span<const DataSource> sources, int64_t num_samples) {
  // The greedy choice may run a little ahead of a dataset's share.
  constexpr double kSurplus = 0.005;
  check(num_samples > 0, "datasets with weights need a number of samples to be blended for");
  std::vector<double> weights;
  for (const DataSource& source : sources) {
    check(source.weight != 0, "{}: has the weight 0; leave it out, or give it a positive one", source.path.string());
    weights.push_back(source.weight);
  }
  WeightedBlend blend;
  int64_t total = 0;
  for (const double share : normalized_weights(weights)) {
    const double wanted = std::ceil(static_cast<double>(num_samples) * share);
    total += static_cast<int64_t>(wanted);
    blend.sizes.push_back(static_cast<int64_t>(std::ceil(wanted * (1 + kSurplus))));
  }
  blend.index = blend_by_weight(weights, total);
  return blend;
}

}  // namespace triax
