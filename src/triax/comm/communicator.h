// Communicator: collective and point-to-point messages between the ranks of one group.
//
// Every rank of the group calls the same collectives in the same order with the same shapes. A
// `start_` function returns at once: the tensors belong to the operation until the Request has been
// waited for, and may be neither read nor written before. Sums of bf16 are accumulated in f32.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "triax/tensor/tensor.h"

namespace triax {

enum class ReduceOp { sum, max, min };

// An operation in flight. wait() returns when it is complete; destroying an unfinished request waits.
class Request {
 public:
  Request() = default;
  explicit Request(std::function<void()> finish) : finish_(std::move(finish)) {}
  ~Request() { wait(); }
  Request(Request&& other) noexcept : finish_(std::exchange(other.finish_, nullptr)) {}
  Request& operator=(Request&& other) noexcept {
    wait();
    finish_ = std::exchange(other.finish_, nullptr);
    return *this;
  }
  void wait() {
    if (auto finish = std::exchange(finish_, nullptr)) finish();
  }

 private:
  std::function<void()> finish_;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // x <- reduction of every rank's x.
  virtual Request start_all_reduce(const Tensor& x, ReduceOp op) = 0;
  // full [size * n] <- every rank's shard [n], in rank order. shard may be this rank's part of full.
  virtual Request start_all_gather(const Tensor& shard, const Tensor& full) = 0;
  // shard [n] <- this rank's part of the sum of every rank's full [size * n]. shard may be this
  // rank's part of full; full is left undefined.
  virtual Request start_reduce_scatter(const Tensor& full, const Tensor& shard) = 0;
  virtual Request start_broadcast(const Tensor& x, int root) = 0;
  virtual Request start_send(const Tensor& x, int destination, int tag) = 0;
  virtual Request start_receive(const Tensor& x, int source, int tag) = 0;
  virtual void barrier() = 0;

  void all_reduce(const Tensor& x, ReduceOp op = ReduceOp::sum) { start_all_reduce(x, op).wait(); }
  void all_gather(const Tensor& shard, const Tensor& full) { start_all_gather(shard, full).wait(); }
  void reduce_scatter(const Tensor& full, const Tensor& shard) {
    start_reduce_scatter(full, shard).wait();
  }
  void broadcast(const Tensor& x, int root) { start_broadcast(x, root).wait(); }
  void send(const Tensor& x, int destination, int tag) { start_send(x, destination, tag).wait(); }
  void receive(const Tensor& x, int source, int tag) { start_receive(x, source, tag).wait(); }
};

// A group of one: collectives are done before they begin, and there is nobody to send to.
std::unique_ptr<Communicator> make_self_communicator();

}  // namespace triax
