// Communicator over MPI (communicator.h). Users get theirs from World and ProcessGrid.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "triax/comm/collectives.h"
#include "triax/comm/communicator.h"

namespace triax {

class MpiCommunicator final : public Communicator {
 public:
  // Collective over the group.
  MpiCommunicator(std::shared_ptr<OperationEngine> progress, mpi::Group group, std::string name, SameHost same_host);

  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  Request start_all_reduce(const Tensor& x, ReduceOp op) override;
  Request start_all_gather(const Tensor& shard, const Tensor& full) override;
  Request start_reduce_scatter(const Tensor& full, const Tensor& shard) override;
  Request start_broadcast(const Tensor& x, int root) override;
  Request start_send(const Tensor& x, int destination, int tag) override;
  Request start_receive(const Tensor& x, int source, int tag) override;
  void barrier() override;

  const mpi::Group& group() const { return group_; }

 private:
  Request start_collective(const char* what, size_t bytes, OperationBody body);
  Request start_message(const char* what, size_t bytes, int peer, int tag, OperationBody body);
  std::shared_ptr<Operation> make_operation(const char* what, size_t bytes, OperationBody body);
  void check_usable(const char* what, const Tensor& x) const;
  void check_rank(const char* what, int rank) const;
  Request start(std::shared_ptr<Operation> operation);

  std::shared_ptr<OperationEngine> progress_;
  mpi::Group group_;
  std::string name_;
  std::vector<int> world_ranks_;
  std::unique_ptr<Transport> transport_;
  std::shared_ptr<Operation> last_collective_;
  uint64_t sequence_ = 0;
};

}  // namespace triax
