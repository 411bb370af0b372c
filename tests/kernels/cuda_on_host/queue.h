// A queue whose device is the host: launches run at once, products are the CPU's.
#pragma once

#include <memory>

#include "triax/kernels/device_queue.h"

namespace triax::cuda_on_host {

// fuses: products have the epilogues that cuBLASLt may have; else they are left to the kernels.
std::unique_ptr<DeviceQueue> make_queue(bool fuses = false);

}  // namespace triax::cuda_on_host
