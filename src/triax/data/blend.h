// Several datasets mixed by weight: which dataset each sample of the blend comes from.
//
// Sample i comes from the dataset whose count is furthest behind its share of i, so that every prefix
// of the blend has the right proportions, to within one sample (the rule of Megatron's
// build_blending_indices).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace triax {

struct BlendIndex {
  std::vector<uint16_t> dataset;  // of each sample
  std::vector<uint32_t> sample;   // its number within that dataset: 0, 1, 2 ... for each dataset
};

// `size` samples by `weights`, which need not add up to 1.
BlendIndex blend_by_weight(std::span<const double> weights, int64_t size);
// Every sample of every dataset once, evenly spread.
BlendIndex blend_everything(std::span<const int64_t> sizes);

struct DataSource {
  std::filesystem::path path;  // as IndexedDataset takes it
  double weight = 0;           // all zero: each dataset once, in proportion to its size
};
// None of the sources has a weight.
bool has_no_weights(std::span<const DataSource> sources);

struct WeightedBlend {
  BlendIndex index;
  std::vector<int64_t> sizes;  // that the datasets are to be built for: a little more than the blend takes of them
};
// At least num_samples by the weights of the sources, rounded up for each dataset as Megatron does.
WeightedBlend blend_by_weight(std::span<const DataSource> sources, int64_t num_samples);

// Weights that add up to 1. Throws on weights that are negative, not finite, or all zero.
std::vector<double> normalized_weights(std::span<const double> weights);

}  // namespace triax
