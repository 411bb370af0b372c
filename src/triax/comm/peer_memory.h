// Reading the memory of another process on this host, straight from where it lies (cross-memory attach
// of Linux). Some containers and security settings forbid it.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace triax {

// Copies `bytes` at `from` in the process `pid` to `to`. False if that is not possible.
bool read_peer_memory(pid_t pid, const std::byte* from, std::byte* to, size_t bytes);

}  // namespace triax
