// The queue of an NVIDIA GPU: a CUDA stream, and cuBLASLt, which is loaded when the first queue is made, so that the program
// starts where it is not installed, and quickly where no GPU is used.
#pragma once

#include "triax/kernels/device_queue.h"

namespace triax::cuda {

constexpr size_t kQueueBytes = size_t{96} << 20;

std::unique_ptr<DeviceQueue> make_queue(Device device);

}  // namespace triax::cuda
