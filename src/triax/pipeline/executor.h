// Runs a rank's schedule list (schedule.h): messages here, computations by whoever holds the model.
#pragma once

#include <array>
#include <deque>
#include <span>
#include <vector>

#include "triax/comm/communicator.h"
#include "triax/pipeline/schedule.h"
#include "triax/tensor/arena.h"

namespace triax {

class PipelineWork {
 public:
  virtual ~PipelineWork() = default;
  // Does one computation of the list. `input` is the message it consumes, `output` where the message it
  // produces goes; undefined where there is none. Both are the executor's memory: the input until compute()
  // returns, the output until it has been sent.
  virtual void compute(const Action& action, const Tensor& input, const Tensor& output) = 0;
};

// When an action of the list ran: seconds of the steady clock.
struct ActionSpan {
  Action action;
  double start = 0, end = 0;
};

// Memory for the messages of a list: a ring of kSendBuffers for each direction and payload that it uses.
struct PipelineBuffers {
  using Ring = std::array<Tensor, kSendBuffers>;
  std::array<Ring, 2> incoming, outgoing;  // by payload

  static PipelineBuffers allocate(std::span<const Action> list, const Shape& message, DType dtype, Arena& arena);
};

// Runs the list to its end on this rank of `group`, which may be null when the list has no messages. With
// `spans`, appends when each action ran. `rows`: how many of a message's rows each micro-batch has, the same on all
// ranks; empty: all of them.
void run_schedule(std::span<const Action> list, Communicator* group, const PipelineBuffers& buffers,
                  PipelineWork& work, std::vector<ActionSpan>* spans = nullptr, std::span<const int64_t> rows = {});

}  // namespace triax
