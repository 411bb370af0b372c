#include "triax/pipeline/partition.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "triax/base/error.h"

namespace triax {

std::vector<int64_t> partition_layers(int64_t num_layers, int pipeline_parallel, int virtual_pipeline,
                                      double head_cost) {
  const int64_t stages = int64_t{pipeline_parallel} * virtual_pipeline;
  if (stages == 1) return {num_layers};
  check(num_layers >= stages - 1,
        "model.num_layers = {} cannot fill pipeline_parallel {} x virtual_pipeline {} = {} stages; at most {} stages",
        num_layers, pipeline_parallel, virtual_pipeline, stages, num_layers + 1);
  const double share = (static_cast<double>(num_layers) + head_cost) / static_cast<double>(stages);
  const auto least = std::max<int64_t>(0, std::llround(share - head_cost));
  const int64_t last = std::min({least, num_layers / stages, num_layers - (stages - 1)});
  std::vector<int64_t> layers(static_cast<size_t>(stages), (num_layers - last) / (stages - 1));
  layers.back() = last;
  std::vector<double> load(static_cast<size_t>(pipeline_parallel));
  for (int64_t s = 0; s < stages; ++s) load[static_cast<size_t>(s % pipeline_parallel)] += static_cast<double>(layers[static_cast<size_t>(s)]);
  load.back() += head_cost;
  std::vector<bool> extended(layers.size());
  for (int64_t extra = (num_layers - last) % (stages - 1); extra > 0; --extra) {
    int64_t best = -1;
    for (int64_t s = 0; s + 1 < stages; ++s)
      if (!extended[static_cast<size_t>(s)] &&
          (best < 0 || load[static_cast<size_t>(s % pipeline_parallel)] < load[static_cast<size_t>(best % pipeline_parallel)]))
        best = s;
    extended[static_cast<size_t>(best)] = true;
    ++layers[static_cast<size_t>(best)];
    ++load[static_cast<size_t>(best % pipeline_parallel)];
  }
  return layers;
}

void check_partition(std::span<const int64_t> layers, int64_t num_layers, int stages) {
  check(layers.size() == static_cast<size_t>(stages),
        "parallel.stage_layers has {} numbers for pipeline_parallel x virtual_pipeline = {} stages", layers.size(), stages);
  const int64_t sum = std::accumulate(layers.begin(), layers.end(), int64_t{0});
  check(sum == num_layers, "parallel.stage_layers adds up to {}, not to model.num_layers = {}", sum, num_layers);
  for (size_t s = 0; s < layers.size(); ++s)
    check(layers[s] > 0 || (layers[s] == 0 && s + 1 == layers.size() && s > 0),
          "parallel.stage_layers gives stage {} {} layers; only the last may have none", s, layers[s]);
}

}  // namespace triax
