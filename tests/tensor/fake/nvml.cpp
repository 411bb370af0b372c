// A library with the functions of NVML that triax uses, for one GPU at 0000:17:00.0.
namespace {
int users = 0;
struct Memory {
  unsigned long long total, free, used;
};
}  // namespace

extern "C" {
int nvmlInit_v2() { return ++users, 0; }
int nvmlShutdown() { return --users, 0; }
int fake_users() { return users; }
int nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, void** device) {
  constexpr char kThere[] = "0000:17:00.0";
  for (int i = 0; i < static_cast<int>(sizeof kThere); ++i)
    if (bus_id[i] != kThere[i]) return 6;  // not found
  *device = &users;
  return 0;
}
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) { return *milliwatts = 612500, 0; }
int nvmlDeviceGetTemperature(void*, int, unsigned* degrees) { return *degrees = 61, 0; }
int nvmlDeviceGetMemoryInfo(void*, Memory* memory) { return *memory = {100ull << 30, 29ull << 30, 71ull << 30}, 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void*, unsigned long long* bits) { return *bits = 0x1 | 0x4 | 0x20, 0; }
}
