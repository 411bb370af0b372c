// What a rank of a grid should send in a training step by the published formulas (communication_volume.h),
// to set beside what its groups' meters count.
#pragma once

#include <vector>

#include "triax/comm/process_grid.h"
#include "triax/train/engine_plan.h"

namespace triax {

// Bytes by group. Left out, since no paper counts them: single numbers (loss, number of targets), and with
// sequence parallelism the gradients of norms and biases, summed over the tensor-parallel ranks. For ZeRO stage
// 3 it is what is gathered at most: a layer that is still there from its last use is not gathered again. How many
// tokens of a BERT are masked it takes to be the published share.
struct ExpectedVolume {
  double tensor = 0, pipeline = 0, data = 0, embedding = 0;
};
ExpectedVolume expected_volume(const EngineConfig& config, const GridCoordinates& at, int micro_batches);

// What the meters of a metered grid have counted since they were reset, beside it. Groups of one rank, and
// groups that nothing went through or should, are left out.
std::vector<VolumeRow> volume_rows(const ProcessGrid& grid, const ExpectedVolume& expected);

}  // namespace triax
