// Is there room for what a plan says, before anything of it is allocated?
#pragma once

#include <span>
#include <string_view>

#include "triax/comm/world.h"
#include "triax/tensor/arena.h"

namespace triax {

// Of the ranks of one machine that take its `gpus` GPUs in turn, those that share the one of rank `local_rank`.
int ranks_on_its_gpu(int local_rank, int local_size, int gpus);

// Throws Error with the plan's table and `remedy` ("lower ...") when the ranks that share the device's memory, each of which
// needs what the plan says, want more than there is. On a CPU a rank needs `resident` bytes besides: what the program has
// taken so far. `world`: null for one rank; else the device is that of this rank (device_of_rank).
void require_memory(std::span<const MemoryUse> plan, Device device, size_t resident, World* world, std::string_view remedy);

}  // namespace triax
