#include "triax/pipeline/schedule_properties.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "triax/base/error.h"
#include "triax/pipeline/message_matching.h"

namespace triax {
namespace {

bool is_send(const Action& action) {
  return action.kind == ActionKind::start_send || action.kind == ActionKind::wait_send;
}

// What has happened to each (micro-batch, chunk) of one rank.
class Ledger {
 public:
  Ledger(const PipelineShape& shape, int rank, bool forward_only)
      : shape_(shape), rank_(rank), forward_only_(forward_only),
        entries_(static_cast<size_t>(shape.micro_batches) * static_cast<size_t>(shape.virtual_pipeline)) {}

  void check_list(const std::vector<Action>& list) {
    for (size_t index = 0; index < list.size(); ++index) {
      const std::string fault = fault_of(list[index]);
      if (!fault.empty()) fail_in_schedule(rank_, index, list[index], fault);
    }
    for (size_t i = 0; i < entries_.size(); ++i) {
      const Entry& entry = entries_[i];
      check(entry.forward && (forward_only_ || (entry.backward_input && entry.backward_weight)),
            "rank {} does not finish micro-batch {} of chunk {}", rank_,
            static_cast<int>(i) / shape_.virtual_pipeline, static_cast<int>(i) % shape_.virtual_pipeline);
    }
  }

 private:
  struct Entry {
    bool forward = false, backward_input = false, backward_weight = false;
    std::array<bool, 2> received{}, sent{};  // by payload
  };
  Entry& entry(int micro_batch, int chunk) {
    return entries_[static_cast<size_t>(micro_batch * shape_.virtual_pipeline + chunk)];
  }
  int stage(const Action& action) const { return shape_.stage_of(rank_, action.chunk); }

  // On a pipeline of one rank the neighbouring stage is the neighbouring chunk.
  bool input_is_there(const Action& action) {
    const bool forward = action.kind == ActionKind::forward;
    if (stage(action) == (forward ? 0 : shape_.stages() - 1)) return true;
    if (shape_.pipeline_parallel > 1)
      return entry(action.micro_batch, action.chunk).received[forward ? 0 : 1];
    return forward ? entry(action.micro_batch, action.chunk - 1).forward
                   : entry(action.micro_batch, action.chunk + 1).backward_input;
  }
  bool sends_are_due(const Entry& e, int chunk) const {
    if (shape_.pipeline_parallel == 1) return true;
    const int s = shape_.stage_of(rank_, chunk);
    return (e.sent[0] || s == shape_.stages() - 1) && (forward_only_ || e.sent[1] || s == 0);
  }

  std::string fault_of(const Action& action) {
    if (action.micro_batch < 0 || action.micro_batch >= shape_.micro_batches || action.chunk < 0 ||
        action.chunk >= shape_.virtual_pipeline)
      return "there is no such micro-batch or chunk";
    if (forward_only_ && (action.kind == ActionKind::backward || action.kind == ActionKind::backward_input ||
                          action.kind == ActionKind::backward_weight))
      return "a backward in a forward-only schedule";
    Entry& e = entry(action.micro_batch, action.chunk);
    switch (action.kind) {
      case ActionKind::forward:
        if (e.forward) return "done twice";
        if (!input_is_there(action)) return "its input is not there yet";
        e.forward = true;
        return {};
      case ActionKind::backward:
      case ActionKind::backward_input:
        if (!e.forward) return "before its forward";
        if (e.backward_input) return "done twice";
        if (!input_is_there(action)) return "its gradient is not there yet";
        e.backward_input = true;
        e.backward_weight |= action.kind == ActionKind::backward;
        return {};
      case ActionKind::backward_weight:
        if (!e.backward_input) return "before its input gradient";
        if (e.backward_weight) return "done twice";
        e.backward_weight = true;
        return {};
      default: return fault_of_message(action, e);
    }
  }

  std::string fault_of_message(const Action& action, Entry& e) {
    const auto payload = static_cast<size_t>(action.payload);
    const int p = shape_.pipeline_parallel;
    const int direction = (action.payload == Payload::activation) == is_send(action) ? 1 : -1;
    if (action.peer != (rank_ + direction + p) % p) return "not the neighbour this payload goes to";
    const int end = direction > 0 ? shape_.stages() - 1 : 0;
    if (stage(action) == end) return "there is no stage beyond";
    if (action.tag < 0 || action.tag > kMaxTag) return fmt::format("tag {} is not in [0, {}]", action.tag, kMaxTag);
    int& sending = in_flight_[payload];
    if (action.kind == ActionKind::start_send) {
      if (e.sent[payload]) return "sent twice";
      if (!(action.payload == Payload::activation ? e.forward : e.backward_input)) return "before it was computed";
      if (++sending > kSendBuffers) return fmt::format("more than {} sends of a channel in flight", kSendBuffers);
      e.sent[payload] = true;
    } else if (action.kind == ActionKind::wait_send) {
      --sending;
    } else if (action.kind == ActionKind::wait_receive) {
      if (e.received[payload]) return "received twice";
      e.received[payload] = true;
    }
    return {};
  }

  PipelineShape shape_;
  int rank_;
  bool forward_only_;
  std::vector<Entry> entries_;
  std::array<int, 2> in_flight_{};
};

// A channel has at most one started and unconsumed receive plus kSendBuffers sends, so tags of
// messages this near to each other must differ.
void check_tags(const MessageMatching& matching) {
  for (size_t id = 0; id < matching.messages.size(); ++id) {
    int other = matching.messages[id].before;
    for (int k = 0; k < kSendBuffers + 1 && other >= 0; ++k) {
      const MatchedMessage& message = matching.messages[static_cast<size_t>(other)];
      check(message.send.tag != matching.messages[id].send.tag,
            "rank {} and rank {}: tag {} is used by two messages that may be in flight together",
            message.source, message.destination, message.send.tag);
      other = message.before;
    }
  }
}

double unit_time(int, const Action& action) { return action.is_message() ? 0 : 1; }

}  // namespace

void verify(ActionLists lists, const PipelineShape& shape, bool forward_only) {
  check(lists.size() == static_cast<size_t>(shape.pipeline_parallel), "{} lists for a pipeline of {} ranks",
        lists.size(), shape.pipeline_parallel);
  for (size_t rank = 0; rank < lists.size(); ++rank)
    Ledger(shape, static_cast<int>(rank), forward_only).check_list(lists[rank]);
  check_tags(match_messages(lists));
  simulate(lists, shape, unit_time);
}

int peak_in_flight(std::span<const Action> list) {
  return static_cast<int>(peak_stash(list, 1, 0));
}

double peak_stash(std::span<const Action> list, double stash, double weight_stash) {
  double now = 0, peak = 0;
  for (const Action& action : list) {
    if (action.kind == ActionKind::forward) now += stash;
    peak = std::max(peak, now);
    if (action.kind == ActionKind::backward) now -= stash;
    if (action.kind == ActionKind::backward_input) now -= stash - weight_stash;
    if (action.kind == ActionKind::backward_weight) now -= weight_stash;
  }
  return peak;
}

double published_bubble(ScheduleKind kind, const PipelineShape& shape, const ActionTimes& times) {
  const double hops = shape.pipeline_parallel - 1;
  const double there_and_back = times.forward + times.backward_input;
  if (!splits_backward(kind)) return hops * (there_and_back + times.backward_weight);
  if (kind == ScheduleKind::zb_h2) return std::max(0.0, hops * (there_and_back - 2 * times.backward_weight));
  // With fewer micro-batches than ranks only m - 1 weight gradients can hide in the drain.
  const double hidden = std::min(shape.pipeline_parallel, shape.micro_batches) - 1;
  return hops * there_and_back - hidden * times.backward_weight;
}

double published_bubble_fraction(ScheduleKind kind, const PipelineShape& shape, const ActionTimes& times) {
  const double chunks = static_cast<double>(shape.micro_batches) * shape.virtual_pipeline;
  return published_bubble(kind, shape, times) /
         (chunks * (times.forward + times.backward_input + times.backward_weight));
}

}  // namespace triax
