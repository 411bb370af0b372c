#include "triax/pipeline/schedule_properties.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <tuple>

#include "triax/base/error.h"

namespace triax {
namespace {

constexpr double kUnknown = -1;

struct Message {
  int source = 0, destination = 0;
  Action send, receive;
  double send_started = kUnknown, receive_started = kUnknown, finished = kUnknown;
  int before = -1;  // the message before it on its channel, whose messages have consecutive numbers
};

bool is_send(const Action& action) {
  return action.kind == ActionKind::start_send || action.kind == ActionKind::wait_send;
}

std::string where(int rank, size_t index, const Action& action) {
  return fmt::format("rank {}, action {} ({})", rank, index, to_string(action));
}
[[noreturn]] void fail_at(int rank, size_t index, const Action& action, std::string_view fault) {
  fail("{}: {}", where(rank, index, action), fault);
}

// Which message every message action is about.
struct Matching {
  std::vector<Message> messages;
  std::vector<std::vector<int>> of_action;  // like the lists; -1 for computations
};

struct Started {
  int rank;
  size_t index;
  Action action;
};

// The k-th send started on a channel goes to the k-th receive started on it, as transports match them.
Matching match_messages(ActionLists lists) {
  using MessageKey = std::tuple<int, int, Payload>;
  std::map<MessageKey, std::array<std::vector<Started>, 2>> channels;
  Matching matching;
  for (int rank = 0; rank < static_cast<int>(lists.size()); ++rank) {
    const std::vector<Action>& list = lists[static_cast<size_t>(rank)];
    matching.of_action.emplace_back(list.size(), -1);
    for (size_t index = 0; index < list.size(); ++index) {
      const Action& action = list[index];
      if (!action.is_message()) continue;
      if (action.peer < 0 || action.peer >= static_cast<int>(lists.size()) || action.peer == rank)
        fail_at(rank, index, action, "there is no such other rank");
      if (action.kind == ActionKind::start_send)
        channels[{rank, action.peer, action.payload}][0].push_back({rank, index, action});
      if (action.kind == ActionKind::start_receive)
        channels[{action.peer, rank, action.payload}][1].push_back({rank, index, action});
    }
  }
  for (const auto& [channel, sides] : channels) {
    const auto& [sends, receives] = sides;
    for (size_t k = 0; k < std::max(sends.size(), receives.size()); ++k) {
      if (k >= receives.size()) fail_at(sends[k].rank, sends[k].index, sends[k].action, "nobody receives it");
      if (k >= sends.size()) fail_at(receives[k].rank, receives[k].index, receives[k].action, "nobody sends it");
      const Started &sent = sends[k], &received = receives[k];
      if (sent.action.tag != received.action.tag || sent.action.micro_batch != received.action.micro_batch)
        fail("{} with tag {} meets {} with tag {}", where(sent.rank, sent.index, sent.action), sent.action.tag,
             where(received.rank, received.index, received.action), received.action.tag);
      const int id = static_cast<int>(matching.messages.size());
      matching.of_action[static_cast<size_t>(sent.rank)][sent.index] = id;
      matching.of_action[static_cast<size_t>(received.rank)][received.index] = id;
      matching.messages.push_back({.source = sent.rank,
                                   .destination = received.rank,
                                   .send = sent.action,
                                   .receive = received.action,
                                   .before = k == 0 ? -1 : id - 1});
    }
  }
  return matching;
}

// Waits find the start with the same description before them on their rank.
void match_waits(ActionLists lists, Matching& matching) {
  for (size_t rank = 0; rank < lists.size(); ++rank) {
    std::map<std::tuple<bool, Payload, int, int, int>, int> started;
    const auto key = [](const Action& a) { return std::tuple(is_send(a), a.payload, a.peer, a.micro_batch, a.chunk); };
    for (size_t index = 0; index < lists[rank].size(); ++index) {
      const Action& action = lists[rank][index];
      if (!action.is_message()) continue;
      int& id = matching.of_action[rank][index];
      if (action.kind == ActionKind::start_send || action.kind == ActionKind::start_receive) {
        if (!started.emplace(key(action), id).second)
          fail_at(static_cast<int>(rank), index, action, "it was started before and not waited for");
        continue;
      }
      const auto found = started.find(key(action));
      if (found == started.end()) fail_at(static_cast<int>(rank), index, action, "it was not started");
      id = found->second;
      started.erase(found);
    }
    check(started.empty(), "rank {} ends without waiting for {} of its messages", rank, started.size());
  }
}

Matching match(ActionLists lists) {
  Matching matching = match_messages(lists);
  match_waits(lists, matching);
  return matching;
}

// Runs all lists, each as far as it can go, until all are done or none can go on.
class Simulator {
 public:
  Simulator(ActionLists lists, const std::function<double(int, const Action&)>& duration)
      : lists_(lists), duration_(duration), matching_(match(lists)), next_(lists.size(), 0), clock_(lists.size(), 0.0) {
    result_.busy.assign(lists.size(), 0.0);
    for (const std::vector<Action>& list : lists) result_.spans.emplace_back(list.size());
  }

  Simulation run() {
    for (bool progress = true; progress;) {
      progress = false;
      for (size_t rank = 0; rank < lists_.size(); ++rank)
        while (next_[rank] < lists_[rank].size() && step(rank)) progress = true;
    }
    require_done();
    for (const double clock : clock_) result_.makespan = std::max(result_.makespan, clock);
    return std::move(result_);
  }

 private:
  Message& message_of(size_t rank) {
    return matching_.messages[static_cast<size_t>(matching_.of_action[rank][next_[rank]])];
  }

  // Does the next action of the rank, or returns false if it must wait for another rank.
  bool step(size_t rank) {
    const Action& action = lists_[rank][next_[rank]];
    const double start = clock_[rank];
    switch (action.kind) {
      case ActionKind::start_send:
        message_of(rank).send_started = start;
        break;
      case ActionKind::start_receive:
        message_of(rank).receive_started = start;
        break;
      case ActionKind::wait_send:
      case ActionKind::wait_receive:
        if (!finish(matching_.of_action[rank][next_[rank]])) return false;
        clock_[rank] = std::max(start, message_of(rank).finished);
        break;
      default:
        clock_[rank] += duration_(static_cast<int>(rank), action);
        result_.busy[rank] += clock_[rank] - start;
    }
    result_.spans[rank][next_[rank]++] = {start, clock_[rank]};
    return true;
  }

  // Computes when the message has moved; false if a side has yet to start it or one before it.
  bool finish(int id) {
    Message& message = matching_.messages[static_cast<size_t>(id)];
    if (message.finished != kUnknown) return true;
    int first = id;  // the first of the channel that has not moved yet
    while (matching_.messages[static_cast<size_t>(first)].before >= 0 &&
           matching_.messages[static_cast<size_t>(first) - 1].finished == kUnknown)
      --first;
    for (int i = first; i <= id; ++i) {
      Message& next = matching_.messages[static_cast<size_t>(i)];
      if (next.send_started == kUnknown || next.receive_started == kUnknown) return false;
      const double channel_free = next.before < 0 ? 0 : matching_.messages[static_cast<size_t>(next.before)].finished;
      next.finished = std::max({next.send_started, next.receive_started, channel_free}) +
                      duration_(next.source, next.send);
    }
    return true;
  }

  void require_done() {
    std::string stuck;
    for (size_t rank = 0; rank < lists_.size(); ++rank)
      if (next_[rank] < lists_[rank].size())
        stuck += fmt::format("{}rank {} waits for rank {} in {}", stuck.empty() ? "" : "; ", rank,
                             lists_[rank][next_[rank]].peer, to_string(lists_[rank][next_[rank]]));
    check(stuck.empty(), "the schedule deadlocks: {}", stuck);
  }

  ActionLists lists_;
  const std::function<double(int, const Action&)>& duration_;
  Matching matching_;
  std::vector<size_t> next_;
  std::vector<double> clock_;
  Simulation result_;
};

// What has happened to each (micro-batch, chunk) of one rank.
class Ledger {
 public:
  Ledger(const PipelineShape& shape, int rank, bool forward_only)
      : shape_(shape), rank_(rank), forward_only_(forward_only),
        entries_(static_cast<size_t>(shape.micro_batches) * static_cast<size_t>(shape.virtual_pipeline)) {}

  void check_list(const std::vector<Action>& list) {
    for (size_t index = 0; index < list.size(); ++index) {
      const std::string fault = fault_of(list[index]);
      if (!fault.empty()) fail_at(rank_, index, list[index], fault);
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
void check_tags(const Matching& matching) {
  for (size_t id = 0; id < matching.messages.size(); ++id) {
    int other = matching.messages[id].before;
    for (int k = 0; k < kSendBuffers + 1 && other >= 0; ++k) {
      const Message& message = matching.messages[static_cast<size_t>(other)];
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
  check_tags(match(lists));
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

double Simulation::bubble() const {
  double idle_time = 0;
  for (size_t rank = 0; rank < busy.size(); ++rank) idle_time += idle(static_cast<int>(rank));
  return makespan > 0 ? idle_time / (makespan * static_cast<double>(busy.size())) : 0;
}

Simulation simulate(ActionLists lists, const PipelineShape& shape,
                    const std::function<double(int rank, const Action&)>& duration) {
  check(lists.size() == static_cast<size_t>(shape.pipeline_parallel), "{} lists for a pipeline of {} ranks",
        lists.size(), shape.pipeline_parallel);
  return Simulator(lists, duration).run();
}

Simulation simulate(ActionLists lists, const PipelineShape& shape, const ActionTimes& times) {
  return simulate(lists, shape, [&](int, const Action& action) {
    switch (action.kind) {
      case ActionKind::forward: return times.forward;
      case ActionKind::backward: return times.backward_input + times.backward_weight;
      case ActionKind::backward_input: return times.backward_input;
      case ActionKind::backward_weight: return times.backward_weight;
      default: return times.communication;
    }
  });
}

double published_bubble(ScheduleKind kind, const PipelineShape& shape, const ActionTimes& times) {
  const double hops = shape.pipeline_parallel - 1;
  const double there_and_back = times.forward + times.backward_input;
  if (kind != ScheduleKind::zb_h1) return hops * (there_and_back + times.backward_weight);
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
