// Saving while training goes on.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "triax/checkpoint/checkpoint.h"
#include "triax/tensor/tensor.h"

namespace triax {

// Copies a rank's pieces to a buffer of its own, which is kept for the next save, and writes them from a
// thread. Training is held up for the copy alone.
//
// One process:  saver.start(target, pieces, [=] { publish_checkpoint(target, state); });
//               with prepare_checkpoint(target) before it.
// Many ranks:   start(target, pieces) after the barrier that follows prepare_checkpoint(); once wait() has
//               returned on every rank (ask busy() at the end of each step), barrier and publish.
class BackgroundSave {
 public:
  BackgroundSave() = default;
  ~BackgroundSave();  // waits; an error that nobody asked for is logged
  BackgroundSave(const BackgroundSave&) = delete;
  BackgroundSave& operator=(const BackgroundSave&) = delete;

  // Waits for the save before, throwing its error if it had one. When start() returns, the tensors may be
  // changed. `then` runs on the thread after the pieces are on the disk.
  void start(const CheckpointTarget& target, std::span<const TensorPiece> pieces,
             std::function<void()> then = {});

  bool busy() const { return busy_.load(std::memory_order_acquire); }
  // Returns when the save is on the disk; throws its error.
  void wait();

  // Memory that start() needs beside the pieces.
  static size_t staging_bytes(std::span<const TensorPiece> pieces);

 private:
  Buffer staging_;
  std::vector<TensorPiece> staged_;
  std::thread thread_;
  std::atomic<bool> busy_ = false;
  std::exception_ptr error_;
};

}  // namespace triax
