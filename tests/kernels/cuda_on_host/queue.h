// A queue whose device is the host: launches run at once, products are the CPU's.
#pragma once

#include <memory>

#include "triax/kernels/device_queue.h"

namespace triax::cuda_on_host {

std::unique_ptr<DeviceQueue> make_queue();

}  // namespace triax::cuda_on_host
