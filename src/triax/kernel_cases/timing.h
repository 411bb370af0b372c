// How long the operations of the table take on their training shapes, beside what the machine can do as measured in the
// same run.
//
// The floor of an operation made of products is its arithmetic at the measured peak of its compute type; that of any other
// its memory traffic at the measured bandwidth of y += a x. Operands are cold: each run takes another copy of them, of as
// many as exceed the caches together, except for matrix products, whose operands a training step has just written. On a
// device other than the CPU a run is a row of calls that are queued and waited for together.
#pragma once

#include "triax/kernel_cases/harness.h"

namespace triax::harness {

struct TimingOptions {
  double seconds = 0.2;  // a case, at least
};

// What the target does at best, by the same clock as the operations: FLOP/s, and bytes/s.
struct Ceilings {
  double f32 = 0, bf16 = 0, bandwidth = 0;
};
Ceilings measure_ceilings(const TimingOptions& options);

struct Timing {
  double seconds = 0;    // of the fastest run
  double rate = 0;       // FLOP/s or bytes/s
  bool computes = false;  // made of products: the rate is FLOP/s
  double of_ceiling = 0;  // rate / the ceiling that bounds it
};
Timing time_case(const Case& entry, const Ceilings& ceilings, const TimingOptions& options);

// Is this case of the table to be timed on the target?
bool is_timed(const Case& entry);

}  // namespace triax::harness
