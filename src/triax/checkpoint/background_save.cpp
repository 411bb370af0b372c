#include "triax/checkpoint/background_save.h"

#include <cstddef>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/log.h"
#include "triax/checkpoint/safetensors.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

constexpr size_t kAlignment = 64;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

BackgroundSave::~BackgroundSave() {
  try {
    wait();
  } catch (const std::exception& error) {
    log_message(LogLevel::error, std::string("a checkpoint could not be saved: ") + error.what());
  }
}

size_t BackgroundSave::staging_bytes(std::span<const TensorPiece> pieces) {
  size_t bytes = 0;
  for (const TensorPiece& piece : pieces) bytes += aligned(piece.data.bytes());
  return bytes;
}

void BackgroundSave::wait() {
  if (thread_.joinable()) thread_.join();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void BackgroundSave::start(const CheckpointTarget& target, std::span<const TensorPiece> pieces,
                           std::function<void()> then) {
  wait();
  for (const TensorPiece& piece : pieces)
    check(piece.data.is_contiguous(), "tensor {}: its data is not contiguous", quoted_name(piece.name));
  staged_.assign(pieces.begin(), pieces.end());
  copied_.store(false, std::memory_order_release);
  run([this, target, after = std::move(then)] {
    copy_pieces();
    set_copied();
    write_checkpoint_pieces(target, staged_);
    if (after) after();
  });
}

void BackgroundSave::run(std::function<void()> work) {
  wait();
  busy_.store(true, std::memory_order_release);
  thread_ = std::thread([this, work = std::move(work)] {
    try {
      work();
    } catch (...) {
      error_ = std::current_exception();
    }
    set_copied();
    busy_.store(false, std::memory_order_release);
  });
}

void BackgroundSave::set_copied() {
  copied_.store(true, std::memory_order_release);
  copied_.notify_all();
}

void BackgroundSave::copy_pieces() {
  const size_t needed = staging_bytes(staged_);
  if (staging_.bytes() < needed) {
    staging_ = Buffer();
    staging_ = Buffer(needed);
  }
  auto* place = static_cast<std::byte*>(staging_.data());
  for (TensorPiece& piece : staged_) {
    const Tensor copy(place, piece.data.shape(), piece.data.dtype());
    copy_between_devices(piece.data, copy);
    piece.data = copy;
    place += aligned(piece.data.bytes());
  }
}

}  // namespace triax
