// Simulated time of schedule lists.
#include <algorithm>
#include <limits>

#include "triax/base/error.h"
#include "triax/pipeline/message_matching.h"

namespace triax {
namespace {

using Duration = std::function<double(int, const Action&)>;

// When each message of the lists moves.
class MessageTimes {
 public:
  static constexpr double kUnknown = -1;

  MessageTimes(ActionLists lists, const Duration& duration)
      : duration_(duration), matching_(match_messages(lists)), times_(matching_.messages.size()) {}

  void start(int rank, size_t index, const Action& action, double at) {
    Times& message = times_[static_cast<size_t>(number(rank, index))];
    (action.kind == ActionKind::start_send ? message.send_started : message.receive_started) = at;
  }

  // kUnknown if a side has yet to start it or one before it on its channel.
  double finished(int rank, size_t index) {
    const int id = number(rank, index);
    int first = id;  // the first of the channel that has not moved yet
    while (before(first) >= 0 && times_[static_cast<size_t>(before(first))].finished == kUnknown) --first;
    for (int i = first; i <= id; ++i) {
      Times& next = times_[static_cast<size_t>(i)];
      if (next.finished != kUnknown) continue;
      if (next.send_started == kUnknown || next.receive_started == kUnknown) return kUnknown;
      const double channel_free = before(i) < 0 ? 0 : times_[static_cast<size_t>(before(i))].finished;
      const MatchedMessage& message = matching_.messages[static_cast<size_t>(i)];
      next.finished = std::max({next.send_started, next.receive_started, channel_free}) + duration_(message.source, message.send);
    }
    return times_[static_cast<size_t>(id)].finished;
  }

 private:
  struct Times {
    double send_started = kUnknown, receive_started = kUnknown, finished = kUnknown;
  };
  int number(int rank, size_t index) const { return matching_.of_action[static_cast<size_t>(rank)][index]; }
  int before(int id) const { return matching_.messages[static_cast<size_t>(id)].before; }

  const Duration& duration_;
  MessageMatching matching_;
  std::vector<Times> times_;
};

Simulation empty_simulation(ActionLists lists) {
  Simulation result;
  result.busy.assign(lists.size(), 0.0);
  for (const std::vector<Action>& list : lists) result.spans.emplace_back(list.size());
  return result;
}

void require_all_done(ActionLists lists, const std::vector<size_t>& next) {
  std::string stuck;
  for (size_t rank = 0; rank < lists.size(); ++rank)
    if (next[rank] < lists[rank].size())
      stuck += fmt::format("{}rank {} waits for rank {} in {}", stuck.empty() ? "" : "; ", rank, lists[rank][next[rank]].peer,
                           to_string(lists[rank][next[rank]]));
  check(stuck.empty(), "the schedule deadlocks: {}", stuck);
}

// Runs all lists, each as far as it can go, until all are done or none can go on.
class Simulator {
 public:
  Simulator(ActionLists lists, const Duration& duration)
      : lists_(lists), duration_(duration), messages_(lists, duration), next_(lists.size(), 0), clock_(lists.size(), 0.0),
        result_(empty_simulation(lists)) {}

  Simulation run() {
    for (bool progress = true; progress;) {
      progress = false;
      for (size_t rank = 0; rank < lists_.size(); ++rank)
        while (next_[rank] < lists_[rank].size() && step(static_cast<int>(rank))) progress = true;
    }
    require_all_done(lists_, next_);
    for (const double clock : clock_) result_.makespan = std::max(result_.makespan, clock);
    return std::move(result_);
  }

 private:
  // Does the next action of the rank, or returns false if it must wait for another rank.
  bool step(int rank) {
    const auto r = static_cast<size_t>(rank);
    const size_t index = next_[r];
    const Action& action = lists_[r][index];
    const double start = clock_[r];
    if (action.kind == ActionKind::start_send || action.kind == ActionKind::start_receive) {
      messages_.start(rank, index, action, start);
    } else if (action.is_message()) {
      const double arrived = messages_.finished(rank, index);
      if (arrived == MessageTimes::kUnknown) return false;
      clock_[r] = std::max(start, arrived);
    } else {
      clock_[r] += duration_(rank, action);
      result_.busy[r] += clock_[r] - start;
    }
    result_.spans[r][next_[r]++] = {start, clock_[r]};
    return true;
  }

  ActionLists lists_;
  const Duration& duration_;
  MessageTimes messages_;
  std::vector<size_t> next_;
  std::vector<double> clock_;
  Simulation result_;
};

// The same where the speed of all depends on how many compute: from one event to the next, on one clock.
class SharedSimulator {
 public:
  SharedSimulator(ActionLists lists, const Duration& duration, const std::function<double(int)>& slowdown)
      : lists_(lists), duration_(duration), slowdown_(slowdown), messages_(lists, duration), ranks_(lists.size()),
        result_(empty_simulation(lists)) {}

  Simulation run() {
    do {
      for (bool progress = true; progress;) {
        progress = false;
        for (size_t r = 0; r < ranks_.size(); ++r)
          while (step(static_cast<int>(r))) progress = true;
      }
    } while (advance());
    std::vector<size_t> next;
    for (const Rank& rank : ranks_) next.push_back(rank.next);
    require_all_done(lists_, next);
    result_.makespan = now_;
    return std::move(result_);
  }

 private:
  struct Rank {
    size_t next = 0;
    double start = 0;  // of the action that `next` is, once it has begun
    bool computes = false, waits = false;
    double left = 0;                          // of the computation, as if it were not slowed down
    double arrives = MessageTimes::kUnknown;  // what it waits for, where that is known
  };

  // Does what takes no time, or begins what does; false when the rank has to let time pass.
  bool step(int rank) {
    const auto r = static_cast<size_t>(rank);
    Rank& state = ranks_[r];
    if (state.computes || state.next == lists_[r].size()) return false;
    const Action& action = lists_[r][state.next];
    if (!action.is_message()) {
      state.computes = true, state.left = duration_(rank, action), state.start = now_;
      return false;
    }
    if (!state.waits) state.start = now_;
    if (action.kind == ActionKind::start_send || action.kind == ActionKind::start_receive) {
      messages_.start(rank, state.next, action, now_);
    } else {
      state.waits = true;
      state.arrives = messages_.finished(rank, state.next);
      if (state.arrives == MessageTimes::kUnknown || state.arrives > now_) return false;
      state.waits = false;
    }
    finish(r);
    return true;
  }

  void finish(size_t r) {
    Rank& state = ranks_[r];
    result_.spans[r][state.next++] = {state.start, now_};
    state.arrives = MessageTimes::kUnknown;
  }

  // To the next end of a computation or arrival of a message; false if there is none.
  bool advance() {
    const auto busy = static_cast<int>(std::count_if(ranks_.begin(), ranks_.end(), [](const Rank& r) { return r.computes; }));
    const double slowdown = busy > 0 ? slowdown_(busy) : 1;
    double until = std::numeric_limits<double>::infinity();
    for (const Rank& rank : ranks_) {
      if (rank.computes) until = std::min(until, now_ + rank.left * slowdown);
      if (rank.waits && rank.arrives > now_) until = std::min(until, rank.arrives);
    }
    if (until == std::numeric_limits<double>::infinity()) return false;
    for (size_t r = 0; r < ranks_.size(); ++r) {
      Rank& rank = ranks_[r];
      if (!rank.computes) continue;
      const bool done = now_ + rank.left * slowdown <= until;
      rank.left -= (until - now_) / slowdown;
      result_.busy[r] += until - now_;
      if (done) rank.left = 0;
    }
    now_ = until;
    for (size_t r = 0; r < ranks_.size(); ++r)
      if (ranks_[r].computes && ranks_[r].left <= 0) ranks_[r].computes = false, finish(r);
    return true;
  }

  ActionLists lists_;
  const Duration& duration_;
  const std::function<double(int)>& slowdown_;
  MessageTimes messages_;
  double now_ = 0;
  std::vector<Rank> ranks_;
  Simulation result_;
};

void check_number_of_lists(ActionLists lists, const PipelineShape& shape) {
  check(lists.size() == static_cast<size_t>(shape.pipeline_parallel), "{} lists for a pipeline of {} ranks", lists.size(),
        shape.pipeline_parallel);
}

}  // namespace

double Simulation::bubble() const {
  double idle_time = 0;
  for (size_t rank = 0; rank < busy.size(); ++rank) idle_time += idle(static_cast<int>(rank));
  return makespan > 0 ? idle_time / (makespan * static_cast<double>(busy.size())) : 0;
}

double longest_rank(ActionLists lists, const Simulation& simulation) {
  double longest = 0;
  for (size_t rank = 0; rank < lists.size(); ++rank) {
    double begin = simulation.makespan, end = 0;
    for (size_t i = 0; i < lists[rank].size(); ++i) {
      if (lists[rank][i].is_message()) continue;
      begin = std::min(begin, simulation.spans[rank][i].start);
      end = std::max(end, simulation.spans[rank][i].end);
    }
    longest = std::max(longest, end - begin);
  }
  return longest;
}

Simulation simulate(ActionLists lists, const PipelineShape& shape, const Duration& duration) {
  check_number_of_lists(lists, shape);
  return Simulator(lists, duration).run();
}

Simulation simulate(ActionLists lists, const PipelineShape& shape, const Duration& duration, const std::function<double(int)>& slowdown) {
  check_number_of_lists(lists, shape);
  return SharedSimulator(lists, duration, slowdown).run();
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

}  // namespace triax
