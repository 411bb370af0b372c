#include "triax/tensor/device.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "triax/base/error.h"
#include "triax/base/text.h"

#ifdef TRIAX_CUDA
#include <cuda_runtime_api.h>
#endif

namespace triax {
namespace {

constexpr auto kNoCuda = "this build of triax has no CUDA support (cmake -DTRIAX_CUDA=ON, with the CUDA toolkit installed)";

// Who holds how much of the devices' memory.
struct Ledger {
  std::mutex mutex;
  std::vector<DeviceMemoryUse> uses;
};

Ledger& ledger() {
  static Ledger one;
  return one;
}

void book(const std::string& purpose, size_t bytes, bool taken) {
  const std::scoped_lock lock(ledger().mutex);
  auto& uses = ledger().uses;
  auto use = std::ranges::find(uses, purpose, &DeviceMemoryUse::purpose);
  if (use == uses.end()) use = uses.insert(uses.end(), {purpose, 0});
  use->bytes = taken ? use->bytes + bytes : use->bytes - bytes;
  if (use->bytes == 0) uses.erase(use);
}

}  // namespace

std::vector<DeviceMemoryUse> device_memory() {
  const std::scoped_lock lock(ledger().mutex);
  return ledger().uses;
}

Device device_of_rank(Device::Kind kind, int local_rank) {
  if (kind != Device::Kind::cuda) return {kind, 0};
  const auto gpus = static_cast<int>(find_gpus().gpus.size());
  return {kind, local_rank % std::max(1, gpus)};
}

size_t device_memory_bytes() {
  size_t bytes = 0;
  for (const DeviceMemoryUse& use : device_memory()) bytes += use.bytes;
  return bytes;
}

HostCopy::HostCopy(const Tensor& x) : view_(x) {
  if (x.device().on_host()) return;
  buffer_ = Buffer(std::max<size_t>(x.bytes(), 1));
  view_ = {buffer_.data(), x.shape(), x.dtype()};
  copy_between_devices(x, view_);
}

void copy_between_devices(const Tensor& from, const Tensor& to) {
  check(from.bytes() == to.bytes() && from.is_contiguous() && to.is_contiguous(),
        "cannot copy {} of {} to {} of {}: contiguous tensors of the same size are needed", from.shape().to_string(),
        name_of(from.dtype()), to.shape().to_string(), name_of(to.dtype()));
  if (from.bytes() == 0 || from.raw() == to.raw()) return;
  if (from.device().on_host() && to.device().on_host()) {
    std::memcpy(to.raw(), from.raw(), from.bytes());
    return;
  }
#ifdef TRIAX_CUDA
  const cudaError_t code = cudaMemcpy(to.raw(), from.raw(), from.bytes(), cudaMemcpyDefault);
  check(code == cudaSuccess, "CUDA: copying {}: {}", format_bytes(static_cast<double>(from.bytes())), cudaGetErrorString(code));
#else
  fail("{}", kNoCuda);
#endif
}

#ifdef TRIAX_CUDA

namespace {

void require_success(cudaError_t code, const char* what) {
  if (code != cudaSuccess) fail("CUDA: {}: {}", what, cudaGetErrorString(code));
}

// What the driver and this build have in common; empty when a kernel can run.
std::string reason_against(const cudaDeviceProp& properties) {
  if (properties.major >= 8) return {};
  return fmt::format("{} has compute capability {}.{}; triax needs 8.0 (A100) or newer", properties.name, properties.major,
                     properties.minor);
}

}  // namespace

GpuList find_gpus() {
  GpuList list;
  int count = 0;
  if (const cudaError_t code = cudaGetDeviceCount(&count); code != cudaSuccess) {
    cudaGetLastError();  // so that the next call does not report it again
    list.reason = code == cudaErrorInsufficientDriver ? "no NVIDIA driver, or one older than CUDA " + std::to_string(CUDART_VERSION / 1000)
                                                      : cudaGetErrorString(code);
    return list;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    if (std::string against = reason_against(properties); !against.empty()) {
      list.reason = std::move(against);
      continue;
    }
    list.gpus.push_back({properties.name, properties.totalGlobalMem, properties.major, properties.minor,
                         properties.multiProcessorCount});
  }
  if (!list.gpus.empty()) list.reason.clear();
  else if (list.reason.empty()) list.reason = "the driver knows of none (is CUDA_VISIBLE_DEVICES empty?)";
  return list;
}

void require_device(Device device) {
  if (device.on_host()) return;
  const GpuList list = find_gpus();
  check(!list.gpus.empty(), "no GPU can be used here: {}", list.reason);
  check(device.index >= 0 && device.index < static_cast<int>(list.gpus.size()), "there is no GPU {}: this machine has {}",
        device.index, list.gpus.size());
  require_success(cudaSetDevice(device.index), "choosing the device");
}

// Memory comes from the device's stream-ordered pool, which keeps what is given back. It is handed out on the legacy
// stream, which waits for every queue's stream and they for it.
void* allocate_on_device(size_t bytes, Device device, const std::string& purpose) {
  require_device(device);
  cudaMemPool_t pool;
  require_success(cudaDeviceGetDefaultMemPool(&pool, device.index), "the device's memory pool");
  uint64_t keep = UINT64_MAX;
  require_success(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "the device's memory pool");
  void* data = nullptr;
  if (const cudaError_t code = cudaMallocAsync(&data, bytes, nullptr); code != cudaSuccess) {
    cudaGetLastError();
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    std::string held;
    for (const DeviceMemoryUse& use : device_memory())
      held += fmt::format("; {} {}", use.purpose, format_bytes(static_cast<double>(use.bytes)));
    fail("GPU {} is out of memory: {} for {} cannot be had, {} of {} are free{}", device.index,
         format_bytes(static_cast<double>(bytes)), purpose, format_bytes(static_cast<double>(available)),
         format_bytes(static_cast<double>(total)), held);
  }
  require_success(cudaMemsetAsync(data, 0, bytes, nullptr), "clearing memory");
  require_success(cudaStreamSynchronize(nullptr), "clearing memory");
  book(purpose, bytes, true);
  return data;
}

void free_on_device(void* data, size_t bytes, Device, const std::string& purpose) {
  cudaFreeAsync(data, nullptr);
  book(purpose, bytes, false);
}

#else

GpuList find_gpus() { return {{}, kNoCuda}; }

void require_device(Device device) { check(device.on_host(), "{}", kNoCuda); }

void* allocate_on_device(size_t, Device, const std::string&) { fail("{}", kNoCuda); }
void free_on_device(void*, size_t bytes, Device, const std::string& purpose) { book(purpose, bytes, false); }

#endif

}  // namespace triax
