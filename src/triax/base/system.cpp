#include "triax/base/system.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>

#include "triax/base/text.h"

namespace triax {
namespace {

namespace fs = std::filesystem;

// Calls visit(key, value) for every "key : value" line of a /proc file; a file that cannot be read
// has no lines.
template <class Visit>
void for_each_proc_line(const fs::path& path, Visit visit) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    visit(trim(std::string_view(line).substr(0, colon)),
          trim(std::string_view(line).substr(colon + 1)));
  }
}

uint64_t leading_number(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// A "VmRSS:   1234 kB" line of a /proc file, in bytes.
uint64_t proc_kilobytes(const char* path, std::string_view wanted) {
  uint64_t bytes = 0;
  for_each_proc_line(path, [&](std::string_view key, std::string_view value) {
    if (key == wanted) bytes = leading_number(value) * 1024;
  });
  return bytes;
}

uint64_t file_number(const char* path) {
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  return leading_number(text);  // "max" gives 0
}

std::vector<std::string> known_features(std::string_view flags) {
  constexpr std::array<std::string_view, 22> kKnown = {
      "avx",      "avx2",     "fma",      "f16c",        "avx_vnni",    "avx512f",
      "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
      "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",    "asimd",       "asimdhp",
      "bf16",     "i8mm",     "sve",      "sve2"};
  const std::vector<std::string> present = split(flags, ' ');
  std::vector<std::string> features;
  for (const std::string_view feature : kKnown) {
    if (std::find(present.begin(), present.end(), feature) != present.end())
      features.emplace_back(feature);
  }
  return features;
}

}  // namespace

CpuInfo cpu_info() {
  CpuInfo info;
  std::set<std::string, std::less<>> sockets;
  std::string flags;
  for_each_proc_line("/proc/cpuinfo", [&](std::string_view key, std::string_view value) {
    if (key == "model name" && info.model.empty()) info.model = value;
    if ((key == "flags" || key == "Features") && flags.empty()) flags = value;
    if (key == "physical id") sockets.emplace(value);
  });
  if (info.model.empty()) info.model = "unknown";
  info.features = known_features(flags);
  info.sockets = static_cast<int>(sockets.size());
  return info;
}

uint64_t memory_limit_bytes() {
  uint64_t limit = proc_kilobytes("/proc/meminfo", "MemTotal");
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const uint64_t container = file_number(path);
    if (container > 0 && (limit == 0 || container < limit)) limit = container;
  }
  return limit;
}

uint64_t memory_available_bytes() {
  uint64_t available = proc_kilobytes("/proc/meminfo", "MemAvailable");
  const uint64_t limit = file_number("/sys/fs/cgroup/memory.max");
  const uint64_t used = file_number("/sys/fs/cgroup/memory.current");
  if (limit > 0) available = std::min(available, limit > used ? limit - used : 0);
  return available;
}

uint64_t resident_bytes() {
  return proc_kilobytes("/proc/self/status", "VmRSS");
}
uint64_t peak_resident_bytes() {
  return proc_kilobytes("/proc/self/status", "VmHWM");
}

std::string operating_system() {
  utsname name{};
  if (::uname(&name) != 0) return "unknown";
  return std::string(name.sysname) + ' ' + name.release + ' ' + name.machine;
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] ? name.data() : "localhost";
}

std::vector<std::string> nvidia_gpus() {
  std::vector<std::string> models;
  std::error_code error;
  for (const fs::directory_entry& gpu : fs::directory_iterator("/proc/driver/nvidia/gpus", error)) {
    for_each_proc_line(gpu.path() / "information",
                       [&](std::string_view key, std::string_view value) {
                         if (key == "Model") models.emplace_back(value);
                       });
  }
  return models;
}

}  // namespace triax
