#include "triax/comm/staged_communicator.h"

#include "triax/tensor/device.h"

namespace triax {
namespace {

// A tensor's place in the host's memory.
std::shared_ptr<OwnedTensor> place_for(const Tensor& x) { return std::make_shared<OwnedTensor>(x.shape(), x.dtype()); }

std::shared_ptr<OwnedTensor> copy_to_host(const Tensor& x) {
  auto place = place_for(x);
  copy_between_devices(x, *place);
  return place;
}

// Waits for `request`, which works on `from` (and on `kept`), then brings the result to `to`.
Request then_copy(Request request, std::shared_ptr<OwnedTensor> from, const Tensor& to, std::shared_ptr<OwnedTensor> kept = {}) {
  auto shared = std::make_shared<Request>(std::move(request));
  return Request([shared, from, to, kept] {
    shared->wait();
    copy_between_devices(*from, to);
  });
}

}  // namespace

Request StagedCommunicator::start_all_reduce(const Tensor& x, ReduceOp op) {
  if (passes(x)) return inner_->start_all_reduce(x, op);
  const auto place = copy_to_host(x);
  return then_copy(inner_->start_all_reduce(*place, op), place, x);
}

Request StagedCommunicator::start_all_gather(const Tensor& shard, const Tensor& full) {
  if (passes(full)) return inner_->start_all_gather(shard, full);
  const auto from = copy_to_host(shard), to = place_for(full);
  return then_copy(inner_->start_all_gather(*from, *to), to, full, from);
}

Request StagedCommunicator::start_reduce_scatter(const Tensor& full, const Tensor& shard) {
  if (passes(full)) return inner_->start_reduce_scatter(full, shard);
  const auto from = copy_to_host(full), to = place_for(shard);
  return then_copy(inner_->start_reduce_scatter(*from, *to), to, shard, from);
}

Request StagedCommunicator::start_broadcast(const Tensor& x, int root) {
  if (passes(x)) return inner_->start_broadcast(x, root);
  const auto place = copy_to_host(x);
  return then_copy(inner_->start_broadcast(*place, root), place, x);
}

Request StagedCommunicator::start_send(const Tensor& x, int destination, int tag) {
  if (passes(x)) return inner_->start_send(x, destination, tag);
  const auto place = copy_to_host(x);
  auto request = std::make_shared<Request>(inner_->start_send(*place, destination, tag));
  return Request([request, place] { request->wait(); });
}

Request StagedCommunicator::start_receive(const Tensor& x, int source, int tag) {
  if (passes(x)) return inner_->start_receive(x, source, tag);
  const auto place = place_for(x);
  return then_copy(inner_->start_receive(*place, source, tag), place, x);
}

}  // namespace triax
