// Devices other than the CPU: what there is, their memory, and copies between them and the host.
#pragma once

#include <string>
#include <vector>

#include "triax/tensor/tensor.h"

namespace triax {

struct Gpu {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  size_t memory_bytes = 0;
  int major = 0, minor = 0;  // compute capability
  int processors = 0;        // streaming multiprocessors
};

struct GpuList {
  std::vector<Gpu> gpus;
  std::string reason;  // why there are none that this build can use; empty when there are
};
GpuList find_gpus();

// Throws Error naming the reason when `device` cannot be used.
void require_device(Device device);

// The device of a rank that is number `local_rank` on its machine: ranks take its GPUs in turn.
Device device_of_rank(Device::Kind kind, int local_rank);

// to <- from: contiguous tensors of as many bytes, on any devices. Waits for operations that were queued before; what is
// queued afterwards sees the result.
void copy_between_devices(const Tensor& from, const Tensor& to);

// x itself where it is in the host's memory, else a copy that lives as long as this does.
class HostCopy {
 public:
  explicit HostCopy(const Tensor& x);
  const Tensor& view() const { return view_; }

 private:
  Buffer buffer_;
  Tensor view_;
};

// What Buffers hold on all devices but the CPU at this moment, by purpose.
struct DeviceMemoryUse {
  std::string purpose;
  size_t bytes = 0;
};
std::vector<DeviceMemoryUse> device_memory();
size_t device_memory_bytes();

// For Buffer: memory of a device other than the CPU, zero-filled. Running out is an Error that lists who holds what.
void* allocate_on_device(size_t bytes, Device device, const std::string& purpose);
void free_on_device(void* data, size_t bytes, Device device, const std::string& purpose);

}  // namespace triax
