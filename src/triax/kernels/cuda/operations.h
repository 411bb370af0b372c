// The table of kernels/dispatch.h for NVIDIA GPUs.
#pragma once

#include "triax/kernels/cuda/launch.h"
#include "triax/kernels/dispatch.h"

namespace triax::TRIAX_GPU {

const DeviceOperations& operations();

}  // namespace triax::TRIAX_GPU
