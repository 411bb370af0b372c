#include <unistd.h>

#include <limits>
#include <new>
#include <vector>

#include "triax/base/error.h"
#include "triax/comm/collective_parts.h"
#include "triax/comm/peer_memory.h"
#include "triax/comm/reduce.h"

namespace triax {
namespace {

constexpr size_t kSlot = 256 << 10;  // bytes
constexpr size_t kSmallTensor = 16 << 10;  // bytes of a tensor that every rank reduces for itself
constexpr size_t kDirect = 48 << 10;  // bytes of a tensor from which on reading directly is faster
constexpr size_t kBlockBytes = 64 << 10;   // bytes reduced at a time when reading directly

// How many chunks a rank is through with, counted over the life of the group; written by that rank,
// read by all. Two slots of each kind let a rank be one chunk ahead of the slowest.
struct Progressed {
  alignas(64) std::atomic<uint64_t> offered;  // its numbers are in its input slots
  alignas(64) std::atomic<uint64_t> reduced;  // its part is reduced and in its output slot
  alignas(64) std::atomic<uint64_t> taken;    // it has copied the others' output slots
  // For reading directly: valid while the operation lasts.
  alignas(64) pid_t pid;
  const std::byte* numbers;  // in the memory of that process
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);
using Counter = std::atomic<uint64_t> Progressed::*;

class SharedTransport final : public Transport {
 public:
  SharedTransport(const mpi::Group& group, mpi::SharedMemory memory, bool direct)
      : me_(group.rank()), size_(group.size()), memory_(std::move(memory)) {
    direct_ = direct && can_read_all(group);
  }

  static constexpr size_t bytes_per_rank() { return sizeof(Progressed) + 4 * kSlot; }

  OperationBody run(Collective c) override {
    const bool small = c.reduces && c.gathers && c.count * size_of(c.dtype) <= kSmallTensor;
    if (small) return all_reduce_small(c);
    const size_t bytes = c.count * size_of(c.dtype) * (c.shard ? static_cast<size_t>(size_) : 1);
    return direct_ && bytes >= kDirect ? run_direct(c) : run_large(c);
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

  // Can every rank read the memory of every other? Tried with a number that only its owner knows.
  // Process numbers alone may mean someone else in another container.
  bool can_read_all(const mpi::Group& group) {
    static constexpr uint64_t kKey = 0x7472696178;
    const uint64_t secret = kKey ^ (static_cast<uint64_t>(::getpid()) << 40) ^ reinterpret_cast<uintptr_t>(&memory_);
    Progressed& mine = progressed(me_);
    mine.pid = ::getpid();
    mine.numbers = reinterpret_cast<const std::byte*>(&secret);
    struct Answer {
      uint64_t secret;
      bool can;
    };
    std::vector<Answer> answers(static_cast<size_t>(size_));
    gather_now(group, Answer{secret, true}, answers);  // from here on all have said where to look
    bool can = true;
    for (int r = 0; r < size_; ++r) {
      uint64_t read = 0;
      can &= read_peer_memory(progressed(r).pid, progressed(r).numbers, reinterpret_cast<std::byte*>(&read), sizeof read) &&
             read == answers[static_cast<size_t>(r)].secret;
    }
    gather_now(group, Answer{secret, can}, answers);  // and from here on all have looked
    for (const Answer& answer : answers) can &= answer.can;
    return can;
  }
  template <typename T>
  static void gather_now(const mpi::Group& group, const T& mine, std::vector<T>& all) {
    mpi::Requests requests;
    group.all_gather(&mine, sizeof mine, all.data(), requests);
    while (!requests.finished()) {}
  }

  void read_from(int rank, size_t offset, std::byte* to, size_t bytes) const {
    const Progressed& other = progressed(rank);
    check(read_peer_memory(other.pid, other.numbers + offset, to, bytes), "cannot read the memory of process {}, rank {} of the group",
          other.pid, rank);
  }

  OperationBody run_direct(Collective c) {
    const CollectiveParts parts(c, size_, std::numeric_limits<size_t>::max() / static_cast<size_t>(2 * size_));
    const uint64_t q = chunks_done_;
    progressed(me_).numbers = c.reduces ? c.full : c.shard;
    offer(q);
    Reached offered(*this, &Progressed::offered, q + 1, 0);
    co_await offered;
    if (c.reduces) reduce_directly(c, parts);
    reduced(q);
    Reached all_reduced(*this, &Progressed::reduced, q + 1, 0);
    co_await all_reduced;
    if (c.gathers) {
      const Piece mine = parts.piece(0, me_);
      copy_bytes(parts.in_full(mine), parts.own(0, me_), parts.bytes(mine));
      for (int k = 1; k < size_; ++k) {
        const int r = (me_ + k) % size_;
        const Piece theirs = parts.piece(0, r);
        read_from(r, c.shard ? 0 : theirs.offset * size_of(c.dtype), parts.in_full(theirs), parts.bytes(theirs));
      }
    }
    take(q);
    Reached all_taken(*this, &Progressed::taken, q + 1, 0);
    co_await all_taken;  // others may still read from this rank
    chunks_done_ = q + 1;
  }

  void reduce_directly(const Collective& c, const CollectiveParts& parts) {
    const size_t element = size_of(c.dtype), step = kBlockBytes / element;
    const Piece mine = parts.piece(0, me_);
    scratch_.resize(kBlockBytes * static_cast<size_t>(size_));
    std::vector<const void*> sources(static_cast<size_t>(size_));
    for (size_t start = 0; start < mine.count; start += step) {
      const size_t count = std::min(step, mine.count - start);
      for (int r = 0; r < size_; ++r) {
        std::byte* block = scratch_.data() + kBlockBytes * static_cast<size_t>(r);
        if (r == me_) block = parts.in_full({mine.offset + start, count});
        if (r != me_) read_from(r, (mine.offset + start) * element, block, count * element);
        sources[static_cast<size_t>(r)] = block;
      }
      reduce_in_order(sources, parts.own(0, me_) + start * element, count, c.dtype, c.op);
    }
  }

  int me_, size_;
  mpi::SharedMemory memory_;
  bool direct_ = false;
  std::vector<std::byte> scratch_;
  uint64_t chunks_done_ = 0;
};

}  // namespace

std::unique_ptr<Transport> make_shared_transport(const mpi::Group& group, SameHost best) {
  if (best == SameHost::messages) return nullptr;
  mpi::SharedMemory memory = group.share(SharedTransport::bytes_per_rank());
  if (!memory) return nullptr;
  return std::make_unique<SharedTransport>(group, std::move(memory), best == SameHost::direct);
}

}  // namespace triax
