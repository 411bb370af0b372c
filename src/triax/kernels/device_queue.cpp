#include "triax/kernels/device_queue.h"

#include "triax/base/error.h"
#include "triax/tensor/device.h"
#ifdef TRIAX_CUDA
#include "triax/kernels/cuda/queue.h"
#endif

namespace triax {

#ifdef TRIAX_CUDA
size_t queue_bytes(Device device) { return device.on_host() ? 0 : cuda::kQueueBytes; }

std::unique_ptr<DeviceQueue> make_queue(Device device) {
  if (device.on_host()) return nullptr;
  return cuda::make_queue(device);
}
#else
size_t queue_bytes(Device) { return 0; }

std::unique_ptr<DeviceQueue> make_queue(Device device) {
  require_device(device);
  return nullptr;
}
#endif

std::unique_ptr<RepeatedWork> repeated_work(const Context& context) {
  return context.queue ? context.queue->repeated() : std::make_unique<RepeatedWork>();
}

std::unique_ptr<DeviceQueue> make_queue(Device device, std::string_view option, std::string_view cpu_option) {
  if (device.kind == Device::Kind::cuda)
    if (const GpuList list = find_gpus(); list.gpus.empty())
      fail("{}: no GPU can be used here: {}. Use {}, or another machine", option, list.reason, cpu_option);
  return make_queue(device);
}

}  // namespace triax
