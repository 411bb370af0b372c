#include "triax/checkpoint/background_save.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "triax/base/error.h"
#include "triax/base/log.h"
#include "triax/base/parallel.h"
#include "triax/checkpoint/safetensors.h"

namespace triax {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kCopyBlock = size_t{4} << 20;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

struct Copy {
  const std::byte* from;
  std::byte* to;
  size_t bytes;
};

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
  const size_t needed = staging_bytes(pieces);
  if (staging_.bytes() < needed) {
    staging_ = Buffer();
    staging_ = Buffer(needed);
  }
  staged_.assign(pieces.begin(), pieces.end());
  std::vector<Copy> copies;
  auto* place = static_cast<std::byte*>(staging_.data());
  for (TensorPiece& piece : staged_) {
    const Tensor source = piece.data;
    check(source.is_contiguous() && source.device().kind == Device::Kind::cpu,
          "tensor {}: its data is not contiguous on the CPU", quoted_name(piece.name));
    const auto* from = static_cast<const std::byte*>(source.raw());
    for (size_t done = 0; done < source.bytes(); done += kCopyBlock)
      copies.push_back({from + done, place + done, std::min(kCopyBlock, source.bytes() - done)});
    piece.data = Tensor(place, source.shape(), source.dtype());
    place += aligned(source.bytes());
  }
  parallel_pieces(static_cast<int64_t>(copies.size()), [&](int64_t i) {
    const Copy& copy = copies[static_cast<size_t>(i)];
    std::memcpy(copy.to, copy.from, copy.bytes);
  });

  busy_.store(true, std::memory_order_release);
  thread_ = std::thread([this, target, after = std::move(then)] {
    try {
      write_checkpoint_pieces(target, staged_);
      if (after) after();
    } catch (...) {
      error_ = std::current_exception();
    }
    busy_.store(false, std::memory_order_release);
  });
}

}  // namespace triax
