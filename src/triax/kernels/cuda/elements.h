// Kernels that touch each element once: body.at<n>(row, column) for n neighbouring columns, 16 bytes at a time where rows
// are aligned.
#pragma once

#include "triax/kernels/cuda/device_code.h"

namespace triax::TRIAX_GPU {

template <typename Body>
__global__ void __launch_bounds__(kThreads) elements(Body body, int64_t cols, uint32_t blocks_per_row, bool vector) {
  const int64_t row = blockIdx.x / blocks_per_row;
  const int64_t col = (int64_t{blockIdx.x % blocks_per_row} * kThreads + threadIdx.x) * kPack;
  if (vector && col + kPack <= cols) return body.template at<kPack>(row, col);
  for (int64_t c = col; c < col + kPack && c < cols; ++c) body.template at<1>(row, c);
}

template <typename Body>
void for_elements(void* stream, const Area& area, const Body& body) {
  const uint32_t blocks_per_row = ceil_div(area.cols, int64_t{kThreads} * kPack);
  launch(elements<Body>, {static_cast<uint32_t>(area.rows) * blocks_per_row}, kThreads, 0, stream, body, area.cols,
         blocks_per_row, area.vector);
}

}  // namespace triax::TRIAX_GPU
