#include "triax/pipeline/schedule.h"

#include <algorithm>
#include <array>
#include <deque>
#include <functional>

#include "triax/base/error.h"

namespace triax {
namespace {

// The order of computations is a list of actions without messages.
Action compute(ActionKind kind, int micro_batch, int chunk) {
  return {.kind = kind, .micro_batch = micro_batch, .chunk = chunk};
}

// The k-th forward (backward) of a rank. Micro-batches go in groups of p through the first (last)
// chunk, then through the next (previous) one, and so on: when rank 0 is done with a group in one
// chunk, the group's first micro-batch comes back from the last rank, ready for the next chunk.
Action nth(ActionKind kind, const PipelineShape& shape, int k) {
  const int p = shape.pipeline_parallel, v = shape.virtual_pipeline;
  const int group = k / (p * v);
  const int size = std::min(p, shape.micro_batches - group * p);  // the last group may be smaller
  const int within = k % (p * v);
  const int turn = within / size;
  return compute(kind, group * p + within % size, kind == ActionKind::forward ? turn : v - 1 - turn);
}

// `warm_up` forwards, then one forward and one backward in turn, then the remaining backwards.
std::vector<Action> warm_up_and_alternate(const PipelineShape& shape, int warm_up) {
  const int total = shape.micro_batches * shape.virtual_pipeline;
  warm_up = std::min(warm_up, total);
  std::vector<Action> order;
  order.reserve(2 * static_cast<size_t>(total));
  for (int k = 0; k < total + warm_up; ++k) {
    if (k < total) order.push_back(nth(ActionKind::forward, shape, k));
    if (k >= warm_up) order.push_back(nth(ActionKind::backward, shape, k - warm_up));
  }
  return order;
}

// As 1F1B, but rank r keeps r weight gradients back: its input gradients leave earlier by that much,
// and at the end the kept ones fill the time in which 1F1B drains. That is ZB-H1; ZB-H2 warms up twice as
// long (`depth` 2) and keeps twice as many back, which fills the time before the first backward too.
std::vector<Action> zero_bubble(const PipelineShape& shape, int rank, int depth) {
  std::vector<Action> order;
  int backwards = 0, weights = 0;
  for (const Action& action : warm_up_and_alternate(shape, depth * (shape.pipeline_parallel - 1 - rank))) {
    if (action.kind == ActionKind::forward) {
      order.push_back(action);
      continue;
    }
    order.push_back(compute(ActionKind::backward_input, action.micro_batch, 0));
    if (++backwards - weights > depth * rank) order.push_back(compute(ActionKind::backward_weight, weights++, 0));
  }
  while (weights < backwards) order.push_back(compute(ActionKind::backward_weight, weights++, 0));
  return order;
}

std::vector<Action> order_of(ScheduleKind kind, const PipelineShape& shape, int rank) {
  const int after = shape.pipeline_parallel - 1 - rank;
  const int v = shape.virtual_pipeline;
  switch (kind) {
    case ScheduleKind::gpipe: return warm_up_and_alternate(shape, shape.micro_batches);
    case ScheduleKind::one_f_one_b: return warm_up_and_alternate(shape, after);
    case ScheduleKind::interleaved_1f1b:
      return warm_up_and_alternate(shape, v == 1 ? after : 2 * after + (v - 1) * shape.pipeline_parallel);
    case ScheduleKind::zb_h1: return zero_bubble(shape, rank, 1);
    case ScheduleKind::zb_h2: return zero_bubble(shape, rank, 2);
  }
  fail("unknown pipeline schedule {}", static_cast<int>(kind));
}

int tag_of(const PipelineShape& shape, Payload payload, int receiving_chunk, int micro_batch) {
  // Unique in a step unless it has thousands of messages a channel; then still unique among those
  // that can be in flight together.
  const int64_t message = int64_t{micro_batch} * shape.virtual_pipeline + receiving_chunk;
  return static_cast<int>(message % ((kMaxTag + 1) / 2)) * 2 + static_cast<int>(payload);
}

// Adds the messages to an order of computations, by the rule in the header.
class MessageInserter {
 public:
  MessageInserter(const PipelineShape& shape, int rank) : shape_(shape), rank_(rank) {}

  std::vector<Action> run(const std::vector<Action>& order) {
    for (const Action& action : order)
      if (has_input(action)) incoming_[channel(action)].push_back(message(ActionKind::start_receive, action));
    for (auto& waiting : incoming_) start_next_receive(waiting);
    for (const Action& action : order) add(action);
    for (auto& unfinished : outgoing_)
      for (const Action& sent : unfinished) list_.push_back(sent);
    return std::move(list_);
  }

 private:
  static Payload payload_of(const Action& action) {
    return action.kind == ActionKind::forward ? Payload::activation : Payload::gradient;
  }
  static size_t channel(const Action& action) { return static_cast<size_t>(payload_of(action)); }
  bool moves_data(const Action& action) const {
    return shape_.pipeline_parallel > 1 && action.kind != ActionKind::backward_weight;
  }
  int stage(const Action& action) const { return shape_.stage_of(rank_, action.chunk); }
  bool has_input(const Action& action) const {
    const int source_end = action.kind == ActionKind::forward ? 0 : shape_.stages() - 1;
    return moves_data(action) && stage(action) != source_end;
  }
  bool has_output(const Action& action) const {
    const int sink_end = action.kind == ActionKind::forward ? shape_.stages() - 1 : 0;
    return moves_data(action) && stage(action) != sink_end;
  }

  Action message(ActionKind kind, const Action& computation) const {
    const int p = shape_.pipeline_parallel;
    const bool sends = kind == ActionKind::start_send || kind == ActionKind::wait_send;
    const Payload payload = payload_of(computation);
    const int downstream = payload == Payload::activation ? 1 : -1;
    const int receiving_stage = stage(computation) + (sends ? downstream : 0);
    return {.kind = kind,
            .payload = payload,
            .micro_batch = computation.micro_batch,
            .chunk = computation.chunk,
            .peer = (rank_ + (sends ? downstream : -downstream) + p) % p,
            .tag = tag_of(shape_, payload, receiving_stage / p, computation.micro_batch)};
  }

  void start_next_receive(std::deque<Action>& waiting) {
    if (waiting.empty()) return;
    list_.push_back(waiting.front());
    waiting.pop_front();
  }

  void add(const Action& action) {
    if (has_input(action)) {
      list_.push_back(message(ActionKind::wait_receive, action));
      start_next_receive(incoming_[channel(action)]);
    }
    std::deque<Action>& unfinished = outgoing_[channel(action)];
    if (has_output(action) && unfinished.size() == kSendBuffers) {
      list_.push_back(unfinished.front());
      unfinished.pop_front();
    }
    list_.push_back(action);
    if (has_output(action)) {
      list_.push_back(message(ActionKind::start_send, action));
      unfinished.push_back(message(ActionKind::wait_send, action));
    }
  }

  PipelineShape shape_;
  int rank_;
  std::vector<Action> list_;
  std::array<std::deque<Action>, 2> incoming_;  // receives not yet started, by payload
  std::array<std::deque<Action>, 2> outgoing_;  // sends not yet waited for, by payload
};

void validate_sizes(const PipelineShape& shape, int rank) {
  check(shape.pipeline_parallel >= 1, "pipeline_parallel = {} must be at least 1", shape.pipeline_parallel);
  check(shape.virtual_pipeline >= 1, "virtual_pipeline = {} must be at least 1", shape.virtual_pipeline);
  check(shape.micro_batches >= 1, "a step needs at least 1 micro-batch per pipeline, not {}", shape.micro_batches);
  check(rank >= 0 && rank < shape.pipeline_parallel, "rank {} is not in a pipeline of {} ranks", rank,
        shape.pipeline_parallel);
}

std::vector<std::vector<Action>> all_ranks(const PipelineShape& shape,
                                           const std::function<std::vector<Action>(int)>& of_rank) {
  std::vector<std::vector<Action>> lists;
  for (int rank = 0; rank < shape.pipeline_parallel; ++rank) lists.push_back(of_rank(rank));
  return lists;
}

}  // namespace

std::string_view name_of(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::gpipe: return "gpipe";
    case ScheduleKind::one_f_one_b: return "one_f_one_b";
    case ScheduleKind::interleaved_1f1b: return "interleaved_1f1b";
    case ScheduleKind::zb_h1: return "zb_h1";
    case ScheduleKind::zb_h2: return "zb_h2";
  }
  return "unknown";
}

std::string_view name_of(ActionKind kind) {
  constexpr std::array<std::string_view, 8> kNames = {
      "forward",    "backward",  "backward_input", "backward_weight",
      "start_send", "wait_send", "start_receive",  "wait_receive"};
  return kNames[static_cast<size_t>(kind)];
}

std::string to_string(const Action& action) {
  if (!action.is_message())
    return fmt::format("{} of micro-batch {}, chunk {}", name_of(action.kind), action.micro_batch, action.chunk);
  const bool sends = action.kind == ActionKind::start_send || action.kind == ActionKind::wait_send;
  return fmt::format("{} {} of micro-batch {}, chunk {}, {} rank {}", name_of(action.kind),
                     action.payload == Payload::activation ? "activation" : "gradient",
                     action.micro_batch, action.chunk, sends ? "to" : "from", action.peer);
}

void validate(ScheduleKind kind, const PipelineShape& shape) {
  validate_sizes(shape, 0);
  const int p = shape.pipeline_parallel, v = shape.virtual_pipeline, m = shape.micro_batches;
  check(v == 1 || kind == ScheduleKind::interleaved_1f1b,
        "schedule {} has one chunk per rank: set virtual_pipeline = 1, or use schedule interleaved_1f1b "
        "for virtual_pipeline = {}",
        name_of(kind), v);
  if (kind != ScheduleKind::interleaved_1f1b || v == 1 || m % p == 0) return;
  const int below = m / p * p, above = below + p;
  const int nearest = below > 0 && m - below < above - m ? below : above;
  const int other = nearest == below ? above : below;
  fail("schedule interleaved_1f1b needs the micro-batches of a step to be a multiple of "
       "pipeline_parallel = {}, not {}: {} would do{}",
       p, m, nearest, other > 0 ? fmt::format(", and so would {}", other) : "");
}

std::vector<Action> schedule(ScheduleKind kind, const PipelineShape& shape, int rank) {
  validate(kind, shape);
  validate_sizes(shape, rank);
  return MessageInserter(shape, rank).run(order_of(kind, shape, rank));
}

std::vector<Action> forward_only_schedule(const PipelineShape& shape, int rank) {
  validate_sizes(shape, rank);
  std::vector<Action> order;
  for (int k = 0; k < shape.micro_batches * shape.virtual_pipeline; ++k)
    order.push_back(nth(ActionKind::forward, shape, k));
  return MessageInserter(shape, rank).run(order);
}

std::vector<std::vector<Action>> schedules(ScheduleKind kind, const PipelineShape& shape) {
  validate(kind, shape);
  return all_ranks(shape, [&](int rank) { return schedule(kind, shape, rank); });
}

std::vector<std::vector<Action>> forward_only_schedules(const PipelineShape& shape) {
  validate_sizes(shape, 0);
  return all_ranks(shape, [&](int rank) { return forward_only_schedule(shape, rank); });
}

}  // namespace triax
