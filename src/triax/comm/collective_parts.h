// How a collective is cut into chunks, and each chunk into one piece a rank. All ranks agree on it.
#pragma once

#include <algorithm>
#include <cstring>

#include "triax/comm/collectives.h"

namespace triax {

struct Piece {
  size_t offset = 0, count = 0;  // elements, in `full`
};

class CollectiveParts {
 public:
  // No piece is larger than `piece_bytes`.
  CollectiveParts(const Collective& collective, int ranks, size_t piece_bytes)
      : c_(collective), ranks_(static_cast<size_t>(ranks)), element_(size_of(collective.dtype)) {
    const size_t piece = std::max<size_t>(1, piece_bytes / element_);
    step_ = c_.shard ? piece : piece * ranks_;
  }
  size_t chunks() const { return (c_.count + step_ - 1) / step_; }
  Piece piece(size_t chunk, int rank) const {
    const size_t start = chunk * step_, length = std::min(step_, c_.count - start), r = static_cast<size_t>(rank);
    if (c_.shard) return {r * c_.count + start, length};
    return {start + length * r / ranks_, length * (r + 1) / ranks_ - length * r / ranks_};
  }
  std::byte* in_full(Piece piece) const { return c_.full + piece.offset * element_; }
  // Where this rank's piece of a chunk comes from when it is gathered, or goes to when it is reduced.
  std::byte* own(size_t chunk, int rank) const {
    return c_.shard ? c_.shard + chunk * step_ * element_ : in_full(piece(chunk, rank));
  }
  size_t bytes(Piece piece) const { return piece.count * element_; }

 private:
  const Collective& c_;
  size_t ranks_, element_, step_;
};

// memcpy that allows equal and empty ranges.
inline void copy_bytes(void* to, const void* from, size_t bytes) {
  if (bytes > 0 && to != from) std::memmove(to, from, bytes);
}

}  // namespace triax
