// A communicator for tensors of devices other than the CPU: each goes through a copy in the host's memory, which another
// communicator exchanges. Slow and always right: for GPUs that ranks share, and where there is no NCCL. Tensors of the host
// pass through as they are.
#pragma once

#include <memory>

#include "triax/comm/communicator.h"

namespace triax {

class StagedCommunicator final : public Communicator {
 public:
  // stages_all: also tensors of the CPU (tests).
  explicit StagedCommunicator(std::unique_ptr<Communicator> inner, bool stages_all = false)
      : inner_(std::move(inner)), stages_all_(stages_all) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Request start_all_reduce(const Tensor& x, ReduceOp op) override;
  Request start_all_gather(const Tensor& shard, const Tensor& full) override;
  Request start_reduce_scatter(const Tensor& full, const Tensor& shard) override;
  Request start_broadcast(const Tensor& x, int root) override;
  Request start_send(const Tensor& x, int destination, int tag) override;
  Request start_receive(const Tensor& x, int source, int tag) override;
  void barrier() override { inner_->barrier(); }

 private:
  bool passes(const Tensor& x) const { return !stages_all_ && x.device().kind == Device::Kind::cpu; }
  std::unique_ptr<Communicator> inner_;
  bool stages_all_;
};

}  // namespace triax
