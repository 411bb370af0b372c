#include <new>
#include <vector>

#include "triax/comm/collective_parts.h"
#include "triax/comm/reduce.h"

namespace triax {
namespace {

constexpr size_t kSlot = 256 << 10;  // bytes
constexpr size_t kSmall = 16 << 10;  // bytes of a tensor that every rank reduces for itself

// How many chunks a rank is through with, counted over the life of the group; written by that rank,
// read by all. Two slots of each kind let a rank be one chunk ahead of the slowest.
struct Progressed {
  alignas(64) std::atomic<uint64_t> offered;  // its numbers are in its input slots
  alignas(64) std::atomic<uint64_t> reduced;  // its part is reduced and in its output slot
  alignas(64) std::atomic<uint64_t> taken;    // it has copied the others' output slots
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);
using Counter = std::atomic<uint64_t> Progressed::*;

class SharedTransport final : public Transport {
 public:
  SharedTransport(const mpi::Group& group, mpi::SharedMemory memory)
      : me_(group.rank()), size_(group.size()), memory_(std::move(memory)) {}

  static constexpr size_t bytes_per_rank() { return sizeof(Progressed) + 4 * kSlot; }

  OperationBody run(Collective c) override {
    const bool small = c.reduces && c.gathers && c.count * size_of(c.dtype) <= kSmall;
    return small ? all_reduce_small(c) : run_large(c);
  }

  OperationBody broadcast(std::byte* data, size_t bytes, int root) override {
    const uint64_t base = chunks_done_;
    const size_t chunks = (bytes + kSlot - 1) / kSlot;
    for (size_t q = 0; q < chunks; ++q) {
      const size_t start = q * kSlot, length = std::min(kSlot, bytes - start);
      if (me_ == root) {
        Reached free_again(*this, &Progressed::taken, base + q, 1);
        co_await free_again;
        copy_bytes(output(me_, base + q), data + start, length);
      }
      offer(base + q), reduced(base + q);
      Reached written(*this, &Progressed::reduced, base + q + 1, 0);
      co_await written;
      if (me_ != root) copy_bytes(data + start, output(root, base + q), length);
      take(base + q);
    }
    chunks_done_ = base + chunks;
  }

  OperationBody barrier() override {
    const uint64_t q = chunks_done_;
    offer(q), reduced(q), take(q);
    Reached all(*this, &Progressed::offered, q + 1, 0);
    co_await all;
    chunks_done_ = q + 1;
  }

 private:
  // Every rank's counter has come to `chunks` - `slack`.
  class Reached final : public Condition {
   public:
    Reached(const SharedTransport& transport, Counter counter, uint64_t chunks, uint64_t slack)
        : transport_(transport), counter_(counter), target_(chunks > slack ? chunks - slack : 0) {}
    bool met() override {
      for (; first_ < transport_.size_; ++first_)
        if (!has(first_)) return false;
      return true;
    }
    void add_missing(std::vector<int>& ranks) const override {
      for (int r = first_; r < transport_.size_; ++r)
        if (!has(r)) ranks.push_back(r);
    }

   private:
    bool has(int rank) const {
      return (transport_.progressed(rank).*counter_).load(std::memory_order_acquire) >= target_;
    }
    const SharedTransport& transport_;
    Counter counter_;
    uint64_t target_;
    int first_ = 0;  // ranks before it have been seen there
  };

  Progressed& progressed(int rank) const {
    return *std::launder(reinterpret_cast<Progressed*>(memory_.of_rank(rank)));
  }
  std::byte* input(int rank, uint64_t chunk) const {
    return memory_.of_rank(rank) + sizeof(Progressed) + chunk % 2 * kSlot;
  }
  std::byte* output(int rank, uint64_t chunk) const { return input(rank, chunk) + 2 * kSlot; }
  void offer(uint64_t chunk) { progressed(me_).offered.store(chunk + 1, std::memory_order_release); }
  void reduced(uint64_t chunk) { progressed(me_).reduced.store(chunk + 1, std::memory_order_release); }
  void take(uint64_t chunk) { progressed(me_).taken.store(chunk + 1, std::memory_order_release); }

  OperationBody all_reduce_small(Collective c) {
    const uint64_t q = chunks_done_;
    Reached free_again(*this, &Progressed::reduced, q, 1);
    co_await free_again;
    copy_bytes(input(me_, q), c.full, c.count * size_of(c.dtype));
    offer(q);
    Reached offered(*this, &Progressed::offered, q + 1, 0);
    co_await offered;
    std::vector<const void*> sources;
    for (int r = 0; r < size_; ++r) sources.push_back(input(r, q));
    reduce_in_order(sources, c.full, c.count, c.dtype, c.op);
    reduced(q), take(q);
    chunks_done_ = q + 1;
  }

  OperationBody run_large(Collective c) {
    const CollectiveParts parts(c, size_, piece_bytes(c));
    const uint64_t base = chunks_done_;
    const size_t chunks = parts.chunks();
    for (size_t step = 0; chunks > 0 && step < chunks + 2; ++step) {
      if (step < chunks) {
        Reached free_again(*this, &Progressed::reduced, base + step, 1);
        co_await free_again;
        if (c.reduces) fill_input(parts, step, base + step);
        offer(base + step);
      }
      if (step >= 1 && step - 1 < chunks) {
        const size_t q = step - 1;
        Reached offered(*this, &Progressed::offered, base + q + 1, 0);
        if (c.reduces) co_await offered;
        Reached free_again(*this, &Progressed::taken, base + q, 1);
        if (c.gathers) co_await free_again;
        fill_output(c, parts, q, base + q);
        reduced(base + q);
      }
      if (step >= 2) {
        const size_t q = step - 2;
        if (c.gathers) {
          Reached written(*this, &Progressed::reduced, base + q + 1, 0);
          co_await written;
          for (int k = 1; k < size_; ++k) {
            const int r = (me_ + k) % size_;
            const Piece theirs = parts.piece(q, r);
            copy_bytes(parts.in_full(theirs), output(r, base + q), parts.bytes(theirs));
          }
        }
        take(base + q);
      }
    }
    chunks_done_ = base + chunks;
  }

  // A rank's input slot holds one piece for each rank; its output slot one piece.
  size_t stride() const { return kSlot / static_cast<size_t>(size_) / 64 * 64; }
  size_t place(int rank) const { return static_cast<size_t>(rank) * stride(); }
  size_t piece_bytes(const Collective& c) const { return c.reduces ? stride() : kSlot; }

  void fill_input(const CollectiveParts& parts, size_t q, uint64_t chunk) {
    for (int r = 0; r < size_; ++r) {
      if (r == me_) continue;
      const Piece theirs = parts.piece(q, r);
      copy_bytes(input(me_, chunk) + place(r), parts.in_full(theirs), parts.bytes(theirs));
    }
  }

  void fill_output(const Collective& c, const CollectiveParts& parts, size_t q, uint64_t chunk) {
    const Piece mine = parts.piece(q, me_);
    std::byte* own = parts.own(q, me_);
    if (c.reduces) {
      std::vector<const void*> sources;
      for (int r = 0; r < size_; ++r)
        sources.push_back(r == me_ ? parts.in_full(mine) : input(r, chunk) + place(me_));
      reduce_in_order(sources, own, mine.count, c.dtype, c.op);
    }
    if (!c.gathers) return;
    copy_bytes(output(me_, chunk), own, parts.bytes(mine));
    copy_bytes(parts.in_full(mine), own, parts.bytes(mine));
  }

  int me_, size_;
  mpi::SharedMemory memory_;
  uint64_t chunks_done_ = 0;
};

}  // namespace

std::unique_ptr<Transport> make_shared_transport(const mpi::Group& group) {
  mpi::SharedMemory memory = group.share(SharedTransport::bytes_per_rank());
  if (!memory) return nullptr;
  return std::make_unique<SharedTransport>(group, std::move(memory));
}

}  // namespace triax
