#include "triax/comm/metered_communicator.h"

#include <array>

namespace triax {
namespace {

// What a wait is called in the trace.
std::string_view wait_name(CommunicationKind kind) {
  constexpr std::array<std::string_view, kCommunicationKinds> names = {
      "wait all_reduce", "wait reduce_scatter", "wait all_gather", "wait broadcast", "wait send", "wait receive"};
  return names[static_cast<size_t>(kind)];
}

// Spreads the bits of a message's name over a number (splitmix64).
uint64_t mixed(uint64_t hash, uint64_t value) {
  hash += value + 0x9e3779b97f4a7c15u;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  return hash ^ (hash >> 31);
}

}  // namespace

MeteredCommunicator::MeteredCommunicator(Communicator& inner, MeterOptions options)
    : inner_(inner), options_(std::move(options)) {
  if (options_.trace) trace_group_ = options_.trace->keep(options_.group);
  reset_volume();
}

void MeteredCommunicator::reset_volume() {
  volume_ = {};
  volume_.ranks = size();
}

template <typename Start>
Request MeteredCommunicator::meter(CommunicationKind kind, size_t bytes, uint64_t arrow, const Start& start) {
  const bool traced = tracing();
  const double started = traced ? Trace::now() : 0;
  Request request = start();
  CommunicationVolume::Count& count = volume_.counts[static_cast<size_t>(kind)];
  ++count.calls;
  count.bytes += static_cast<int64_t>(bytes);
  if (!traced) return request;

  Trace& trace = *options_.trace;
  TraceSpan span{.category = options_.category, .start = started, .micro_batch = trace.micro_batch(),
                 .chunk = trace.chunk(), .bytes = static_cast<int64_t>(bytes), .name = name_of(kind),
                 .group = trace_group_, .arrow = arrow};
  if (kind == CommunicationKind::send) span.category = TraceCategory::send;
  if (kind == CommunicationKind::receive) span.category = TraceCategory::receive;
  return Request([&trace, kind, span, inner = std::make_shared<Request>(std::move(request))] {
    TraceSpan wait = span, whole = span;
    wait.start = Trace::now();
    inner->wait();
    wait.end = whole.end = Trace::now();
    trace.add(whole);
    wait.category = TraceCategory::idle;
    wait.name = wait_name(kind);
    wait.bytes = -1;
    wait.arrow = 0;
    trace.add(wait);
  });
}

Request MeteredCommunicator::start_all_reduce(const Tensor& x, ReduceOp op) {
  return meter(CommunicationKind::all_reduce, x.bytes(), 0, [&] { return inner_.start_all_reduce(x, op); });
}

Request MeteredCommunicator::start_all_gather(const Tensor& shard, const Tensor& full) {
  return meter(CommunicationKind::all_gather, full.bytes(), 0, [&] { return inner_.start_all_gather(shard, full); });
}

Request MeteredCommunicator::start_reduce_scatter(const Tensor& full, const Tensor& shard) {
  return meter(CommunicationKind::reduce_scatter, full.bytes(), 0,
               [&] { return inner_.start_reduce_scatter(full, shard); });
}

Request MeteredCommunicator::start_broadcast(const Tensor& x, int root) {
  return meter(CommunicationKind::broadcast, x.bytes(), 0, [&] { return inner_.start_broadcast(x, root); });
}

Request MeteredCommunicator::start_send(const Tensor& x, int destination, int tag) {
  const uint64_t arrow = next_arrow(rank(), destination, tag);
  return meter(CommunicationKind::send, x.bytes(), arrow, [&] { return inner_.start_send(x, destination, tag); });
}

Request MeteredCommunicator::start_receive(const Tensor& x, int source, int tag) {
  const uint64_t arrow = next_arrow(source, rank(), tag);
  return meter(CommunicationKind::receive, x.bytes(), arrow, [&] { return inner_.start_receive(x, source, tag); });
}

void MeteredCommunicator::barrier() {
  const TraceScope scope(tracing() ? options_.trace : nullptr,
                         {.category = TraceCategory::idle, .name = "barrier", .group = trace_group_});
  inner_.barrier();
}

// Messages of a pair and tag arrive in the order of sending, so that both sides count them alike.
uint64_t MeteredCommunicator::next_arrow(int source, int destination, int tag) {
  const bool sends = source == rank();
  const uint32_t count = (sends ? sent_ : received_)[{sends ? destination : source, tag}]++;
  uint64_t arrow = 0;
  for (const int part : {options_.index, source, destination, tag}) arrow = mixed(arrow, static_cast<uint64_t>(part));
  return mixed(arrow, count);
}

}  // namespace triax
