#include "triax/comm/peer_memory.h"

#include <sys/uio.h>

#include <algorithm>

namespace triax {

bool read_peer_memory(pid_t pid, const std::byte* from, std::byte* to, size_t bytes) {
  constexpr size_t kAtOnce = size_t{64} << 20;  // one call is limited to 2 GiB
  while (bytes > 0) {
    const size_t wanted = std::min(bytes, kAtOnce);
    const iovec local{to, wanted}, remote{const_cast<std::byte*>(from), wanted};
    const ssize_t got = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (got <= 0) return false;
    from += got;
    to += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace triax
