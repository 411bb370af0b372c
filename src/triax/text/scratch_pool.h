// What threads that encode work in, lent to each for the time of a call.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>

namespace triax::text {

// Lends every thread that encodes a Scratch of its own, the same as last time where it can; without
// locks. At most kSlots are kept.
template <typename Scratch>
class ScratchPool {
 public:
  ScratchPool() = default;
  ScratchPool(const ScratchPool&) = delete;
  ScratchPool& operator=(const ScratchPool&) = delete;
  ~ScratchPool() {
    for (auto& slot : slots_) delete slot.load();
  }

  class Lease {
   public:
    explicit Lease(ScratchPool& pool)
        : slot_(pool.slots_[std::hash<std::thread::id>{}(std::this_thread::get_id()) % kSlots]),
          scratch_(slot_.exchange(nullptr)) {
      if (!scratch_) scratch_ = std::make_unique<Scratch>();
    }
    ~Lease() {
      Scratch* none = nullptr;
      if (slot_.compare_exchange_strong(none, scratch_.get())) scratch_.release();
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Scratch& operator*() { return *scratch_; }

   private:
    std::atomic<Scratch*>& slot_;
    std::unique_ptr<Scratch> scratch_;
  };

 private:
  static constexpr size_t kSlots = 64;
  std::array<std::atomic<Scratch*>, kSlots> slots_{};
};

}  // namespace triax::text
