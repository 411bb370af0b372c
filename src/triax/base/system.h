// The machine under the program, as the operating system (Linux) tells it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace triax {

struct CpuInfo {
  std::string model;  // "Intel(R) Xeon(R) ..."; "unknown" if not told
  std::vector<std::string>
      features;     // of those that matter here: avx2, avx512f, amx_bf16, sve, ...
  int sockets = 0;  // 0: not told
};

CpuInfo cpu_info();

// Bytes of memory this process may use: the machine's, or the container's limit if that is lower.
uint64_t memory_limit_bytes();
// Of those, not in use now by this or other processes; 0 if not told.
uint64_t memory_available_bytes();

// Of this process: in physical memory now (VmRSS), and the most there ever was (VmHWM). 0 if not
// told.
uint64_t resident_bytes();
uint64_t peak_resident_bytes();

// "Linux 6.1.0 x86_64"
std::string operating_system();
std::string host_name();

// Models of the NVIDIA GPUs that the driver shows, whether or not this build can use them.
std::vector<std::string> nvidia_gpus();

}  // namespace triax
