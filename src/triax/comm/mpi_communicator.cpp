#include "triax/comm/mpi_communicator.h"

#include "triax/base/error.h"
#include "triax/comm/reduce.h"

namespace triax {
namespace {

std::byte* bytes_of(const Tensor& x) { return static_cast<std::byte*>(x.raw()); }

}  // namespace

MpiCommunicator::MpiCommunicator(std::shared_ptr<OperationEngine> progress, mpi::Group group, std::string name,
                                 SameHost same_host)
    : progress_(std::move(progress)), group_(std::move(group)), name_(std::move(name)),
      world_ranks_(group_.world_ranks().begin(), group_.world_ranks().end()) {
  const std::lock_guard lock(progress_->mutex());
  transport_ = make_shared_transport(group_, same_host);
  if (!transport_) transport_ = make_message_transport(group_);
}

void MpiCommunicator::check_usable(const char* what, const Tensor& x) const {
  check(x.is_contiguous(), "{} in group {}: the tensor {} is not contiguous", what, name_, x.shape().to_string());
  check(x.device().kind == Device::Kind::cpu, "{} in group {}: the tensor is not in CPU memory", what, name_);
}

void MpiCommunicator::check_rank(const char* what, int rank) const {
  check(rank >= 0 && rank < size(), "{} in group {}: there is no rank {} among its {}", what, name_, rank, size());
}

std::shared_ptr<Operation> MpiCommunicator::make_operation(const char* what, size_t bytes, OperationBody body) {
  auto operation = std::make_shared<Operation>();
  operation->name = {.what = what, .group = name_, .world_ranks = &world_ranks_, .sequence = sequence_++, .bytes = bytes};
  operation->body.emplace(std::move(body));
  return operation;
}

Request MpiCommunicator::start(std::shared_ptr<Operation> operation) {
  {
    const std::lock_guard lock(progress_->mutex());
    progress_->start(operation);
    if (operation->done && !operation->error) return {};
  }
  return Request([progress = progress_, operation] { progress->wait(operation); });
}

Request MpiCommunicator::start_collective(const char* what, size_t bytes, OperationBody body) {
  std::shared_ptr<Operation> operation = make_operation(what, bytes, std::move(body));
  operation->after = std::exchange(last_collective_, operation);
  return start(std::move(operation));
}

Request MpiCommunicator::start_message(const char* what, size_t bytes, int peer, int tag, OperationBody body) {
  std::shared_ptr<Operation> operation = make_operation(what, bytes, std::move(body));
  operation->name.peer = world_ranks_[static_cast<size_t>(peer)];
  operation->name.tag = tag;
  return start(std::move(operation));
}

Request MpiCommunicator::start_all_reduce(const Tensor& x, ReduceOp op) {
  check_usable("all_reduce", x);
  check_reducible(x.dtype());
  if (x.numel() == 0) return {};
  return start_collective("all_reduce", x.bytes(),
                          transport_->run({.reduces = true, .gathers = true, .full = bytes_of(x),
                                           .count = static_cast<size_t>(x.numel()), .dtype = x.dtype(), .op = op}));
}

Request MpiCommunicator::start_all_gather(const Tensor& shard, const Tensor& full) {
  check_usable("all_gather", shard);
  check_usable("all_gather", full);
  check(shard.dtype() == full.dtype() && shard.numel() * size() == full.numel(),
        "all_gather in group {}: {} ranks' shards {} of {} do not make {} of {}", name_, size(),
        shard.shape().to_string(), name_of(shard.dtype()), full.shape().to_string(), name_of(full.dtype()));
  if (shard.numel() == 0) return {};
  return start_collective("all_gather", full.bytes(),
                          transport_->run({.gathers = true, .full = bytes_of(full), .shard = bytes_of(shard),
                                           .count = static_cast<size_t>(shard.numel()), .dtype = shard.dtype()}));
}

Request MpiCommunicator::start_reduce_scatter(const Tensor& full, const Tensor& shard) {
  check_usable("reduce_scatter", full);
  check_usable("reduce_scatter", shard);
  check_reducible(full.dtype());
  check(shard.dtype() == full.dtype() && shard.numel() * size() == full.numel(),
        "reduce_scatter in group {}: {} of {} does not split into {} shards {} of {}", name_,
        full.shape().to_string(), name_of(full.dtype()), size(), shard.shape().to_string(), name_of(shard.dtype()));
  if (shard.numel() == 0) return {};
  return start_collective("reduce_scatter", full.bytes(),
                          transport_->run({.reduces = true, .full = bytes_of(full), .shard = bytes_of(shard),
                                           .count = static_cast<size_t>(shard.numel()), .dtype = full.dtype()}));
}

Request MpiCommunicator::start_broadcast(const Tensor& x, int root) {
  check_usable("broadcast", x);
  check_rank("broadcast", root);
  if (x.numel() == 0) return {};
  return start_collective("broadcast", x.bytes(), transport_->broadcast(bytes_of(x), x.bytes(), root));
}

Request MpiCommunicator::start_send(const Tensor& x, int destination, int tag) {
  check_usable("send", x);
  check_rank("send", destination);
  return start_message("send", x.bytes(), destination, tag,
                       send_message(group_, bytes_of(x), x.bytes(), destination, tag));
}

Request MpiCommunicator::start_receive(const Tensor& x, int source, int tag) {
  check_usable("receive", x);
  check_rank("receive", source);
  return start_message("receive", x.bytes(), source, tag, receive_message(group_, bytes_of(x), x.bytes(), source, tag));
}

void MpiCommunicator::barrier() { start_collective("barrier", 0, transport_->barrier()).wait(); }

}  // namespace triax
