// Which layers each pipeline stage has.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace triax {

// Layers of each of the `pipeline_parallel * virtual_pipeline` stages, in order. `head_cost` is the time of the
// language-model head in layers: the last stage gets as many fewer, down to none, and what cannot be shared
// evenly goes to the ranks that have least to do. Throws Error when there are fewer layers than stages before
// the last.
std::vector<int64_t> partition_layers(int64_t num_layers, int pipeline_parallel, int virtual_pipeline,
                                      double head_cost);

// Throws Error unless `layers` has a positive number for every stage (the last may have none) and adds up.
void check_partition(std::span<const int64_t> layers, int64_t num_layers, int stages);

}  // namespace triax
