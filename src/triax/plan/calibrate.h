// Measures this machine, and writes what it finds as a hardware file.
#pragma once

#include "triax/comm/world.h"
#include "triax/plan/hardware.h"
#include "triax/train/run_config.h"

namespace triax {

// Matrix products by shape, memory bandwidth, and with several ranks the collectives between them. All ranks measure at
// the same time, with the threads they would train with: what they share they share here too. Collective; the result
// is the mean of the ranks, in the middle of many rounds (timing_rounds.h). A device of the file is a rank.
Hardware calibrate(World& world, double seconds);

// Adds the layers of this run's model, for every tensor group that fits into the ranks, and how much faster a rank
// computes while others of its host wait. The trainer's own code is timed, exchanges apart.
void profile_layers(World& world, const RunConfig& run, double seconds, Hardware& hardware);

}  // namespace triax
