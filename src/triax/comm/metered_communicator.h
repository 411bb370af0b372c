// A communicator that counts what passes through another, and records it in a trace. It changes no bit
// and copies nothing; without a trace that is on, it costs a few additions a call.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "triax/base/trace.h"
#include "triax/comm/communication_volume.h"
#include "triax/comm/communicator.h"

namespace triax {

struct MeterOptions {
  std::string group;  // "tensor"
  TraceCategory category = TraceCategory::data;  // of collectives; messages are send and receive
  Trace* trace = nullptr;                        // must outlive the communicator and its requests
  // Which of the groups of this name, for arrows from sends to receives: the same on the ranks that form
  // it, such as the lowest of their world ranks.
  int index = 0;
};

class MeteredCommunicator final : public Communicator {
 public:
  // `inner` must outlive it.
  MeteredCommunicator(Communicator& inner, MeterOptions options);

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  // In the trace an operation lasts from its start until it has been waited for, with the micro-batch and
  // chunk at its start (Trace::set_place); the wait alone is idle.
  Request start_all_reduce(const Tensor& x, ReduceOp op) override;
  Request start_all_gather(const Tensor& shard, const Tensor& full) override;
  Request start_reduce_scatter(const Tensor& full, const Tensor& shard) override;
  Request start_broadcast(const Tensor& x, int root) override;
  Request start_send(const Tensor& x, int destination, int tag) override;
  Request start_receive(const Tensor& x, int source, int tag) override;
  void barrier() override;

  const std::string& group() const { return options_.group; }
  // Since the last reset, which begins a step.
  const CommunicationVolume& volume() const { return volume_; }
  void reset_volume();

 private:
  bool tracing() const { return options_.trace && options_.trace->on() && size() > 1; }
  template <typename Start>
  Request meter(CommunicationKind kind, size_t bytes, uint64_t arrow, const Start& start);
  uint64_t next_arrow(int source, int destination, int tag);

  Communicator& inner_;
  MeterOptions options_;
  CommunicationVolume volume_;
  std::string_view trace_group_;
  std::map<std::pair<int, int>, uint32_t> sent_, received_;  // messages by (rank, tag)
};

}  // namespace triax
