#include "triax/pipeline/executor.h"

#include <algorithm>
#include <chrono>

#include "triax/base/error.h"

namespace triax {
namespace {

static_assert(kSendBuffers == 2, "a receive is always started while the message before it is used: two buffers");

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

size_t payload_of(const Action& action) {
  if (action.is_message()) return static_cast<size_t>(action.payload);
  return static_cast<size_t>(action.kind == ActionKind::forward ? Payload::activation : Payload::gradient);
}

// The messages of one payload on their way.
struct Channel {
  Request receive;
  std::deque<Request> sends;
  size_t received = 0, sent = 0;  // started so far: the rings' positions
  Tensor arrived;                 // waited for, and not yet consumed
};

class Run {
 public:
  Run(Communicator* group, const PipelineBuffers& buffers, PipelineWork& work, std::span<const int64_t> rows)
      : group_(group), buffers_(buffers), work_(work), rows_(rows) {}

  // `sends`: a start_send follows, of what this action computes.
  void act(const Action& action, bool sends) {
    const size_t payload = payload_of(action);
    Channel& channel = channels_[payload];
    const auto message = [&](const PipelineBuffers::Ring& ring, size_t number) {
      const Tensor& whole = ring[number % kSendBuffers];
      return rows_.empty() || !whole.defined() ? whole : whole.narrow(0, 0, rows_[static_cast<size_t>(action.micro_batch)]);
    };
    const Tensor outgoing = message(buffers_.outgoing[payload], channel.sent);
    switch (action.kind) {
      case ActionKind::start_receive:
        channel.receive = group_->start_receive(message(buffers_.incoming[payload], channel.received++), action.peer, action.tag);
        break;
      case ActionKind::wait_receive:
        channel.receive.wait();
        channel.arrived = message(buffers_.incoming[payload], channel.received - 1);
        break;
      case ActionKind::start_send:
        channel.sends.push_back(group_->start_send(outgoing, action.peer, action.tag));
        ++channel.sent;
        break;
      case ActionKind::wait_send:
        channel.sends.front().wait();
        channel.sends.pop_front();
        break;
      default:
        work_.compute(action, std::exchange(channel.arrived, Tensor{}), sends ? outgoing : Tensor{});
    }
  }

 private:
  Communicator* group_;
  const PipelineBuffers& buffers_;
  PipelineWork& work_;
  std::span<const int64_t> rows_;
  std::array<Channel, 2> channels_;
};

}  // namespace

PipelineBuffers PipelineBuffers::allocate(std::span<const Action> list, const Shape& message, DType dtype,
                                          Arena& arena) {
  PipelineBuffers buffers;
  for (size_t payload = 0; payload < 2; ++payload)
    for (const ActionKind kind : {ActionKind::start_receive, ActionKind::start_send}) {
      const bool used = std::any_of(list.begin(), list.end(), [&](const Action& action) {
        return action.kind == kind && payload_of(action) == payload;
      });
      if (!used) continue;
      Ring& ring = (kind == ActionKind::start_send ? buffers.outgoing : buffers.incoming)[payload];
      for (Tensor& buffer : ring) buffer = arena.allocate(message, dtype);
    }
  return buffers;
}

void run_schedule(std::span<const Action> list, Communicator* group, const PipelineBuffers& buffers,
                  PipelineWork& work, std::vector<ActionSpan>* spans, std::span<const int64_t> rows) {
  Run run(group, buffers, work, rows);
  for (size_t i = 0; i < list.size(); ++i) {
    const bool sends = !list[i].is_message() && i + 1 < list.size() && list[i + 1].kind == ActionKind::start_send;
    const double start = spans ? now() : 0;
    run.act(list[i], sends);
    if (spans) spans->push_back({.action = list[i], .start = start, .end = now()});
  }
}

}  // namespace triax
