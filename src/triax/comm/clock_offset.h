// Clocks of different hosts, for traces of all ranks on one time line.
#pragma once

#include "triax/comm/communicator.h"

namespace triax {

struct ClockOffset {
  double seconds = 0;      // to add to this rank's Trace::now(), to have rank 0's at the same moment
  double uncertainty = 0;  // seconds; the error is at most this
};

// Collective. Each rank in turn exchanges `rounds` messages with rank 0, which answers with its time. The
// fastest exchange counts (Cristian 1989): rank 0 read its clock within it, half its length from the middle
// at most.
ClockOffset estimate_clock_offset(Communicator& group, int rounds = 50);

}  // namespace triax
