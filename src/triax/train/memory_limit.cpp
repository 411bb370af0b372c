#include "triax/train/memory_limit.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/base/system.h"
#include "triax/base/text.h"
#include "triax/tensor/device.h"
#include "triax/train/console.h"

namespace triax {

int ranks_on_its_gpu(int local_rank, int local_size, int gpus) {
  const int first = local_rank % gpus;
  return (local_size - first + gpus - 1) / gpus;
}

void require_memory(std::span<const MemoryUse> plan, Device device, size_t resident, World* world, std::string_view remedy) {
  const bool on_gpu = device.kind == Device::Kind::cuda;
  if (world) device = device_of_rank(device.kind, world->local_rank());
  size_t total = on_gpu ? 0 : resident;
  for (const MemoryUse& use : plan) total += use.bytes;
  size_t limit = memory_limit_bytes();
  int ranks = world ? world->local_size() : 1;
  if (on_gpu) {
    require_device(device);
    const std::vector<Gpu> gpus = find_gpus().gpus;
    limit = gpus.at(static_cast<size_t>(device.index)).memory_bytes;
    if (world) ranks = ranks_on_its_gpu(world->local_rank(), ranks, static_cast<int>(gpus.size()));
  }
  if (limit == 0 || total * static_cast<size_t>(ranks) <= limit) return;
  fail("this run needs {}{} and {} has {}:\n{}{}", format_bytes(static_cast<double>(total)), ranks > 1 ? fmt::format(" on each of {} ranks", ranks) : "",
       on_gpu ? "the GPU" : "the machine", format_bytes(static_cast<double>(limit)), format_memory_table(plan) + "\n", remedy);
}

}  // namespace triax
