// What data-parallel ranks exchange of one part of a model: gradients unit by unit while backward still
// runs, and with ZeRO (nn/parameters.h, Sharding) the weights that others updated.
//
//   stage 0   gradients are all-reduced; every rank updates everything
//   stage 1   gradients are reduce-scattered at their last use in a step; updated weights are all-gathered
//             while the next forward runs
//   stage 2   each use adds to a temporary that is reduce-scattered into the shard that is kept
//   stage 3   weights too live in temporaries, gathered before each use; the next unit's are on their way
//             while one is used
//
// Exchanges of a group happen in the order in which units are used, which the schedule makes the same on all
// its ranks. Whether they overlap with computation never changes a bit.
#pragma once

#include <array>
#include <vector>

#include "triax/comm/communicator.h"
#include "triax/nn/parameters.h"

namespace triax {

class DataParallel final : public UnitUse {
 public:
  // `data`: the group; null for one rank. `tensor`: the tensor-parallel group where it sees different tokens
  // (sequence parallelism), so that gradients of what every rank of it holds whole are summed; else null.
  DataParallel(Parameters& parameters, Communicator* data, Communicator* tensor, bool overlap);
  ~DataParallel() override;

  // Zeroes the gradients. uses[unit]: how often gradients_added(unit) will be called in this step.
  void begin_step(const Context& context, std::vector<int> uses);
  // Returns when what this rank owns of the gradients is summed over the group.
  void finish_gradients();
  // After the owned weights have changed: brings the others' (starts to, with overlap).
  void share_weights();
  // Until all that was started is done.
  void finish();

  void weights_needed(int unit, int next) override;
  void gradients_needed(int unit) override;
  void gradients_added(int unit) override;

  // Bytes of the temporaries.
  static size_t buffer_bytes(const ParameterTable& table, DType compute_type, bool with_gradients,
                             const Sharding& sharding);

 private:
  // Memory that units take turns in.
  struct Slot {
    Buffer memory;
    int unit = -1;
    std::array<Request, 2> requests;
    bool to_add = false;  // gradients: the reduced part is not yet in the shard
  };
  using Requests = std::array<Request, 2>;
  void start_gather(int unit);
  void reduce(int unit, Requests& requests);
  void add_to_shard(Slot& slot);

  Parameters* parameters_;
  Communicator* data_;
  Communicator* tensor_;
  bool overlap_;
  Context context_;
  std::vector<int> slot_of_unit_;
  std::vector<Slot> weight_slots_, gradient_slots_;
  std::vector<Requests> gathers_, reductions_;  // by unit
  std::vector<int> uses_left_;
};

}  // namespace triax
