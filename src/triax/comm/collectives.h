// The collectives, as operations (progress.h), over messages or over memory shared within a host.
//
// Every reduction adds the ranks' numbers from left to right in rank order, bf16 and f16 in f32, on
// whatever way they travel and however they are cut up. So a result has the same bits on all ranks, in
// every run, whether the ranks share a host or not.
//
// Large tensors: each rank reduces one part (reduce-scatter by all-to-all), then all gather the parts;
// a rank sends 2 (n - 1) / n of the tensor, as in a ring, in two steps instead of 2 (n - 1).
// Small tensors: everyone gets everything and reduces it, in one step.
#pragma once

#include <atomic>

#include "triax/comm/communicator.h"
#include "triax/comm/mpi.h"
#include "triax/comm/progress.h"

namespace triax {

// All-reduce (reduces and gathers), reduce-scatter (reduces) or all-gather (gathers).
//
// Without a shard `full` is `count` elements, cut into parts anywhere. With a shard it is one part of
// `count` elements a rank, and this rank's part is read from (all-gather) or written to (reduce-scatter)
// the shard.
struct Collective {
  bool reduces = false, gathers = false;
  std::byte* full = nullptr;
  std::byte* shard = nullptr;
  size_t count = 0;
  DType dtype = DType::f32;
  ReduceOp op = ReduceOp::sum;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual OperationBody run(Collective collective) = 0;
  virtual OperationBody broadcast(std::byte* data, size_t bytes, int root) = 0;
  virtual OperationBody barrier() = 0;
};

// One message to or from a rank of the group.
OperationBody send_message(const mpi::Group& group, const std::byte* data, size_t bytes, int destination, int tag);
OperationBody receive_message(const mpi::Group& group, std::byte* data, size_t bytes, int source, int tag);

// Between any ranks. `group` must outlive it.
std::unique_ptr<Transport> make_message_transport(const mpi::Group& group);

// How ranks on one host exchange numbers, at best; less where the system does not allow it.
enum class SameHost {
  messages,  // as ranks on different hosts
  slots,     // through slots of memory that all can see
  direct,    // large tensors straight from the memory of the other process, which saves a copy
};

// Between ranks on one host. Null if the group cannot share memory. Collective.
//
// With slots a rank copies what others reduce into its slots, reduces its own part straight from
// theirs, and copies the others' results out; chunks small enough for the caches pass through in a
// pipeline of three stages. Directly, it reads the others' numbers where they lie, twice: to reduce its
// part, and to collect theirs.
std::unique_ptr<Transport> make_shared_transport(const mpi::Group& group, SameHost best);

}  // namespace triax
