#include "triax/tensor/gpu_sensors.h"

#include <dlfcn.h>

#include <array>

#ifdef TRIAX_CUDA
#include <cuda_runtime_api.h>
#endif

namespace triax {
namespace {

// NVML's own declarations, as far as they are used (its reference manual; the interface does not change): every function
// returns 0 when all went well.
using NvmlDevice = void*;
struct NvmlMemory {
  unsigned long long total, free, used;
};
struct NvmlFunctions {
  int (*init)();
  int (*shutdown)();
  int (*device_of_bus)(const char* bus_id, NvmlDevice* device);
  int (*power)(NvmlDevice device, unsigned* milliwatts);
  int (*temperature)(NvmlDevice device, int sensor, unsigned* degrees);
  int (*memory)(NvmlDevice device, NvmlMemory* memory);
  int (*reasons)(NvmlDevice device, unsigned long long* bits);
};
constexpr int kOnTheChip = 0;  // which temperature

// Of nvmlClocksThrottleReasons: those that tell of a fault or a limit. Being idle and clocks set by hand are none.
std::string held_back_by(unsigned long long bits) {
  struct Reason {
    unsigned long long bit;
    const char* name;
  };
  constexpr std::array kReasons = {Reason{0x04, "power cap"}, Reason{0x08, "hardware slowdown"}, Reason{0x20, "heat"},
                                   Reason{0x40, "heat (hardware)"}, Reason{0x80, "power brake"}};
  std::string names;
  for (const Reason& reason : kReasons)
    if (bits & reason.bit) names += (names.empty() ? "" : ", ") + std::string(reason.name);
  return names;
}

class NvmlSensors final : public GpuSensors {
 public:
  NvmlSensors(void* library, const NvmlFunctions& nvml, NvmlDevice device) : library_(library), nvml_(nvml), device_(device) {}
  ~NvmlSensors() override {
    nvml_.shutdown();
    dlclose(library_);
  }
  NvmlSensors(const NvmlSensors&) = delete;
  NvmlSensors& operator=(const NvmlSensors&) = delete;

  std::optional<GpuFigures> read() const override {
    unsigned milliwatts = 0, degrees = 0;
    NvmlMemory memory{};
    unsigned long long bits = 0;
    if (nvml_.power(device_, &milliwatts) != 0 || nvml_.temperature(device_, kOnTheChip, &degrees) != 0 ||
        nvml_.memory(device_, &memory) != 0)
      return std::nullopt;
    if (nvml_.reasons(device_, &bits) != 0) bits = 0;
    return GpuFigures{.power_watts = milliwatts * 1e-3, .temperature = static_cast<double>(degrees), .memory_bytes = memory.used,
                      .held_back_by = held_back_by(bits)};
  }

 private:
  void* library_;
  NvmlFunctions nvml_;
  NvmlDevice device_;
};

// False: the library has none of these names.
template <typename Function>
bool find(void* library, Function& function, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if ((function = reinterpret_cast<Function>(dlsym(library, name)))) return true;
  return false;
}

bool find_all(void* library, NvmlFunctions& f) {
  return find(library, f.init, {"nvmlInit_v2"}) && find(library, f.shutdown, {"nvmlShutdown"}) &&
         find(library, f.device_of_bus, {"nvmlDeviceGetHandleByPciBusId_v2"}) && find(library, f.power, {"nvmlDeviceGetPowerUsage"}) &&
         find(library, f.temperature, {"nvmlDeviceGetTemperature"}) && find(library, f.memory, {"nvmlDeviceGetMemoryInfo"}) &&
         find(library, f.reasons, {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"});
}

}  // namespace

std::unique_ptr<GpuSensors> open_gpu_sensors(const std::string& bus_id, const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) return nullptr;
  NvmlFunctions nvml{};
  NvmlDevice device = nullptr;
  if (find_all(handle, nvml) && nvml.init() == 0) {
    if (nvml.device_of_bus(bus_id.c_str(), &device) == 0) return std::make_unique<NvmlSensors>(handle, nvml, device);
    nvml.shutdown();
  }
  dlclose(handle);
  return nullptr;
}

std::unique_ptr<GpuSensors> open_gpu_sensors([[maybe_unused]] Device device) {
#ifdef TRIAX_CUDA
  std::array<char, 32> bus_id{};
  if (device.kind == Device::Kind::cuda &&
      cudaDeviceGetPCIBusId(bus_id.data(), static_cast<int>(bus_id.size()), device.index) == cudaSuccess)
    return open_gpu_sensors(bus_id.data(), "libnvidia-ml.so.1");
#endif
  return nullptr;
}

}  // namespace triax
