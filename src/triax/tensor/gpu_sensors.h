// What an NVIDIA GPU tells of itself while it works: power, temperature, memory, and whether something holds it back. From
// the driver's management library (NVML), which is loaded when it is first wanted; where it is not there, neither are the
// figures.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "triax/tensor/tensor.h"

namespace triax {

struct GpuFigures {
  double power_watts = 0, temperature = 0;  // degrees Celsius
  uint64_t memory_bytes = 0;  // used on the GPU, by all programs
  std::string held_back_by;   // "power cap, heat": why it runs below its clock; empty: nothing does
};

class GpuSensors {
 public:
  virtual ~GpuSensors() = default;
  // None where the driver gives no answer.
  virtual std::optional<GpuFigures> read() const = 0;
};

// Of a GPU of the CUDA runtime; null where there is none, or no library.
std::unique_ptr<GpuSensors> open_gpu_sensors(Device device);
// The same by the GPU's place on the bus ("0000:17:00.0") and the library's name.
std::unique_ptr<GpuSensors> open_gpu_sensors(const std::string& bus_id, const std::string& library);

}  // namespace triax
