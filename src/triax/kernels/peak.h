// What this machine can do at best, measured with the project's own operations: the ceilings of
// `triax info`, of model FLOP utilisation and of the benchmarks.
#pragma once

#include "triax/kernels/context.h"

namespace triax {

struct GemmPeak {
  double f32 = 0;   // FLOP/s of the fastest f32 matrix product
  double bf16 = 0;  // of the fastest bf16 one (f32 accumulation); 0 where bf16 is only emulated
};

// The best rate over a few large shapes in about `seconds`, with the current number of threads.
GemmPeak measure_gemm_peak(const Context& context, double seconds = 0.5);

// Bytes per second that y += alpha x moves (two reads and one write an element) when x and y take
// `bytes` together, with the current number of threads: of main memory with the default size, of
// the caches with a smaller one.
double measure_memory_bandwidth(const Context& context, size_t bytes = size_t{256} << 20,
                                double seconds = 0.2);

}  // namespace triax
