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

// A thread copies a rank's pieces to a buffer of its own, which is kept for the next save, and writes them from
// there. Training goes on meanwhile, up to where it changes what is saved: a step's forward and backward only
// read the weights and leave the moments alone, and take far longer than the copy.
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

  // Waits for the save before, throwing its error if it had one. The tensors may not be changed until
  // wait_until_copied() has returned. `then` runs on the thread after the pieces are on the disk.
  void start(const CheckpointTarget& target, std::span<const TensorPiece> pieces,
             std::function<void()> then = {});

  // Any other work, on the thread that saves; waits as start() does.
  void run(std::function<void()> work);

  void wait_until_copied() const { copied_.wait(false); }
  bool busy() const { return busy_.load(std::memory_order_acquire); }
  // Returns when the save is on the disk; throws its error.
  void wait();

  // Memory that a save needs beside the pieces.
  static size_t staging_bytes(std::span<const TensorPiece> pieces);

 private:
  void copy_pieces();
  void set_copied();

  Buffer staging_;
  std::vector<TensorPiece> staged_;
  std::thread thread_;
  std::atomic<bool> busy_ = false, copied_ = true;
  std::exception_ptr error_;
};

}  // namespace triax
