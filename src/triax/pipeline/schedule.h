// Pipeline schedules as data: for every rank of a pipeline, the list of what it does in one step.
//
// The model is cut into p * v stages in order; stage s lives on rank s % p as its chunk s / p (p ranks,
// v chunks a rank: `virtual_pipeline`). A step sends m micro-batches forward through all stages and
// their gradients back. schedule() is a pure function; the executor runs its list, simulate() times it
// and verify() proves it right (schedule_properties.h).
//
// Each schedule is only an order of computations. The messages follow from it by one rule, so that they
// overlap with computation:
//   - a channel is (source rank, destination rank, payload). Messages of a channel are started in the
//     same order on both sides, so that transports without tags (NCCL) can match them;
//   - every channel always has its next receive started: the first at the start of the step, the next
//     as soon as one has been waited for, before the computation that uses it;
//   - a send is started right after the computation that produced it and waited for only when its
//     buffer is needed again: before the computation that produces the kSendBuffers-th message after it
//     on that channel, or at the end of the step.
// Nothing is sent between stages on the same rank (p = 1): the next chunk takes what the last one left.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace triax {

enum class ScheduleKind {
  gpipe,             // all forward, then all backward (Huang et al. 2019)
  one_f_one_b,       // 1F1B with flush (Narayanan et al. 2021, section 2.2.1)
  interleaved_1f1b,  // v chunks a rank (section 2.2.2); with v = 1 it is one_f_one_b
  zb_h1,             // backward split in two, memory as 1F1B (Qi et al. 2023, section 2)
  zb_h2,             // the same with twice the micro-batches in flight, and no idle time where F, B and W take as long
};
std::string_view name_of(ScheduleKind kind);
// Does it compute gradients of input and weights apart?
constexpr bool splits_backward(ScheduleKind kind) { return kind == ScheduleKind::zb_h1 || kind == ScheduleKind::zb_h2; }
// Do its ranks begin and end a step at different times, so that there is no moment between two steps at which all of
// them stand still? Then its optimizer cannot wait for a norm over all ranks (Qi et al. 2023, section 4).
constexpr bool steps_interlock(ScheduleKind kind) { return kind == ScheduleKind::zb_h2; }

struct PipelineShape {
  int pipeline_parallel = 1;  // p, ranks
  int virtual_pipeline = 1;   // v, chunks a rank
  int micro_batches = 1;      // m, in one step

  int stages() const { return pipeline_parallel * virtual_pipeline; }
  int stage_of(int rank, int chunk) const { return chunk * pipeline_parallel + rank; }
  bool operator==(const PipelineShape&) const = default;
};

enum class ActionKind : uint8_t {
  forward,
  backward,         // gradient of input and weights: backward_input and backward_weight at once
  backward_input,   // gradient of the input only, which the previous stage waits for
  backward_weight,  // gradient of the weights, any time after backward_input
  start_send,
  wait_send,
  start_receive,
  wait_receive,
};
std::string_view name_of(ActionKind kind);

enum class Payload : uint8_t {
  activation,  // to the next stage, from rank r to (r + 1) % p
  gradient,    // to the stage before, from rank r to (r - 1 + p) % p
};

struct Action {
  ActionKind kind = ActionKind::forward;
  Payload payload = Payload::activation;  // messages only
  int micro_batch = 0;
  int chunk = 0;  // of this rank; of a message: the chunk that produced it or will consume it here
  int peer = -1;  // messages only: the other rank of the pipeline
  int tag = -1;   // messages only: equal on both sides, at most kMaxTag

  bool is_message() const { return kind >= ActionKind::start_send; }
  bool operator==(const Action&) const = default;
};
// "start_send activation of micro-batch 3, chunk 0, to rank 1"
std::string to_string(const Action& action);

// Outgoing messages of one channel that may be in flight at once, each with a buffer of its own.
inline constexpr int kSendBuffers = 2;
// What every MPI offers.
inline constexpr int kMaxTag = 32767;

// What no single number can tell. Throws Error naming the keys pipeline_parallel, virtual_pipeline and
// the micro-batches, and values that would do.
void validate(ScheduleKind kind, const PipelineShape& shape);

// What `rank` does in a training step, in order. Validates. Backwards of a chunk come in the order of
// micro-batches in every schedule, so that weight gradients are summed in the same order.
std::vector<Action> schedule(ScheduleKind kind, const PipelineShape& shape, int rank);
// The same for evaluation: forwards only, any number of micro-batches.
std::vector<Action> forward_only_schedule(const PipelineShape& shape, int rank);

// The lists of all ranks.
std::vector<std::vector<Action>> schedules(ScheduleKind kind, const PipelineShape& shape);
std::vector<std::vector<Action>> forward_only_schedules(const PipelineShape& shape);

}  // namespace triax
