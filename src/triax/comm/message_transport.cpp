#include <array>
#include <vector>

#include "triax/comm/collective_parts.h"
#include "triax/comm/reduce.h"

namespace triax {
namespace {

constexpr size_t kSmallStep = 32 << 10;      // bytes that all ranks together send a rank in one step
constexpr size_t kPieceBytes = 1 << 20;  // of a large tensor, to each rank at a time
enum Tag { kReduceTag, kGatherTag, kBroadcastTag };

class Complete final : public Condition {
 public:
  explicit Complete(mpi::Requests& requests) : requests_(requests) {}
  bool met() override { return requests_.finished(); }
  void add_missing(std::vector<int>& ranks) const override { requests_.add_unfinished(ranks); }

 private:
  mpi::Requests& requests_;
};

class MessageTransport final : public Transport {
 public:
  explicit MessageTransport(const mpi::Group& group) : group_(group) {}

  OperationBody run(Collective c) override {
    const bool small = c.reduces && c.gathers && c.count * size_of(c.dtype) * static_cast<size_t>(size()) <= kSmallStep;
    return small ? all_reduce_small(c) : run_large(c);
  }

  OperationBody broadcast(std::byte* data, size_t bytes, int root) override {
    // A binomial tree over ranks counted from the root.
    const int n = size(), me = (group_.rank() - root + n) % n;
    int reach = 1;  // ranks below it have the data when this rank's turn to send comes
    mpi::Requests requests;
    if (me > 0) {
      while (reach * 2 <= me) reach *= 2;
      group_.receive(data, bytes, (me - reach + root) % n, mpi::Lane::collective, kBroadcastTag, requests);
      reach *= 2;
      Complete received(requests);
      co_await received;
    }
    for (; me + reach < n; reach *= 2)
      group_.send(data, bytes, (me + reach + root) % n, mpi::Lane::collective, kBroadcastTag, requests);
    Complete sent(requests);
    co_await sent;
  }

  OperationBody barrier() override {
    mpi::Requests requests;
    group_.barrier(requests);
    Complete complete(requests);
    co_await complete;
  }

 private:
  int size() const { return group_.size(); }

  OperationBody all_reduce_small(Collective c) {
    const size_t bytes = c.count * size_of(c.dtype);
    std::vector<std::byte> all(bytes * static_cast<size_t>(size()));
    mpi::Requests requests;
    group_.all_gather(c.full, bytes, all.data(), requests);
    Complete complete(requests);
    co_await complete;
    std::vector<const void*> sources;
    for (size_t r = 0; r < static_cast<size_t>(size()); ++r) sources.push_back(all.data() + r * bytes);
    reduce_in_order(sources, c.full, c.count, c.dtype, c.op);
  }

  // While the pieces of one chunk are reduced, those of the next are on their way.
  OperationBody run_large(Collective c) {
    const CollectiveParts parts(c, size(), kPieceBytes);
    std::array<mpi::Requests, 2> scattering, gathering;
    std::array<std::vector<std::byte>, 2> received;
    if (c.reduces && parts.chunks() > 0) start_scatter(parts, 0, scattering[0], received[0]);
    for (size_t q = 0; q < parts.chunks(); ++q) {
      if (c.reduces) {
        if (q + 1 < parts.chunks()) start_scatter(parts, q + 1, scattering[(q + 1) % 2], received[(q + 1) % 2]);
        Complete scattered(scattering[q % 2]);
        co_await scattered;
        reduce_own(c, parts, q, received[q % 2]);
      }
      if (c.gathers) {
        Complete gathered(gathering[q % 2]);
        co_await gathered;
        start_gather(parts, q, gathering[q % 2]);
      }
    }
    for (mpi::Requests& requests : gathering) {
      Complete gathered(requests);
      co_await gathered;
    }
  }

  void start_scatter(const CollectiveParts& parts, size_t q, mpi::Requests& requests, std::vector<std::byte>& received) {
    const int me = group_.rank();
    const size_t bytes = parts.bytes(parts.piece(q, me));
    received.resize(bytes * static_cast<size_t>(size()));
    for (int step = 1; step < size(); ++step) {
      const int from = (me - step + size()) % size(), to = (me + step) % size();
      group_.receive(received.data() + bytes * static_cast<size_t>(from), bytes, from, mpi::Lane::collective, kReduceTag, requests);
      const Piece theirs = parts.piece(q, to);
      group_.send(parts.in_full(theirs), parts.bytes(theirs), to, mpi::Lane::collective, kReduceTag, requests);
    }
  }

  void reduce_own(const Collective& c, const CollectiveParts& parts, size_t q, const std::vector<std::byte>& received) {
    const Piece mine = parts.piece(q, group_.rank());
    std::vector<const void*> sources;
    for (int r = 0; r < size(); ++r)
      sources.push_back(r == group_.rank() ? parts.in_full(mine) : received.data() + parts.bytes(mine) * static_cast<size_t>(r));
    reduce_in_order(sources, parts.own(q, group_.rank()), mine.count, c.dtype, c.op);
  }

  void start_gather(const CollectiveParts& parts, size_t q, mpi::Requests& requests) {
    const int me = group_.rank();
    const Piece mine = parts.piece(q, me);
    copy_bytes(parts.in_full(mine), parts.own(q, me), parts.bytes(mine));
    for (int step = 1; step < size(); ++step) {
      const int from = (me - step + size()) % size(), to = (me + step) % size();
      const Piece theirs = parts.piece(q, from);
      group_.receive(parts.in_full(theirs), parts.bytes(theirs), from, mpi::Lane::collective, kGatherTag, requests);
      group_.send(parts.in_full(mine), parts.bytes(mine), to, mpi::Lane::collective, kGatherTag, requests);
    }
  }

  const mpi::Group& group_;
};

}  // namespace

OperationBody send_message(const mpi::Group& group, const std::byte* data, size_t bytes, int destination, int tag) {
  mpi::Requests requests;
  group.send(data, bytes, destination, mpi::Lane::user, tag, requests);
  Complete complete(requests);
  co_await complete;
}

OperationBody receive_message(const mpi::Group& group, std::byte* data, size_t bytes, int source, int tag) {
  mpi::Requests requests;
  group.receive(data, bytes, source, mpi::Lane::user, tag, requests);
  Complete complete(requests);
  co_await complete;
}

std::unique_ptr<Transport> make_message_transport(const mpi::Group& group) {
  return std::make_unique<MessageTransport>(group);
}

}  // namespace triax
