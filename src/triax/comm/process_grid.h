// ProcessGrid: which part of the model, of the pipeline and of the data this rank has.
//
// The ranks of the job are numbered through tensor, data and pipeline coordinates; in the order string
// the first axis changes fastest. "tp-dp-pp" (the default) gives
//   rank = tp + t * (dp + d * pp)
// so that the ranks of a tensor group, which talk most, are neighbours and share a host.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "triax/comm/metered_communicator.h"
#include "triax/comm/world.h"

namespace triax {

struct GridShape {
  int tensor_parallel = 1;
  int pipeline_parallel = 1;
  int data_parallel = 1;
  std::string order = "tp-dp-pp";

  int ranks() const { return tensor_parallel * pipeline_parallel * data_parallel; }
};

struct GridCoordinates {
  int tensor = 0, pipeline = 0, data = 0;
  bool operator==(const GridCoordinates&) const = default;
};

// Throws Error naming the numbers that would do: sizes below 1, an unknown order, a product that is
// not the number of ranks. data_parallel = 0 means all ranks that are left; the result has it filled in.
GridShape fit_grid(GridShape shape, int ranks);

// Of a valid shape.
GridCoordinates coordinates_of(const GridShape& shape, int rank);
int rank_of(const GridShape& shape, const GridCoordinates& at);

class ProcessGrid {
 public:
  // Collective over the world, which must outlive the grid. Calls fit_grid().
  ProcessGrid(World& world, const GridShape& shape);

  const GridShape& shape() const { return shape_; }
  const GridCoordinates& at() const { return at_; }
  bool first_stage() const { return at_.pipeline == 0; }
  bool last_stage() const { return at_.pipeline == shape_.pipeline_parallel - 1; }
  // "tp 0/2, pp 1/4, dp 0/1"
  std::string to_string() const;

  World& world() const { return *world_; }
  // The rank in a group is the coordinate along its axis.
  Communicator& tensor() const { return *tensor_; }
  Communicator& pipeline() const { return *pipeline_; }
  Communicator& data() const { return *data_; }
  // All ranks that hold parts of the same copy of the model: tensor and pipeline together.
  Communicator& model() const { return *model_; }
  // First and last stage (ranks 0 and 1), for tied embeddings; null on stages between, and when one
  // rank is both.
  Communicator* embedding() const { return embedding_.get(); }

  // The groups' collectives of tensors on GPUs go through NCCL from now on, each rank having `device`. Collective; call it
  // once, before meter() and before anyone keeps a group. Without it such tensors are staged in the hosts' memory.
  void use_nccl(Device device);

  // Puts a meter on each of the groups, with a trace if one is given, which must outlive the grid. Call it
  // once, before anyone keeps a group.
  void meter(Trace* trace = nullptr);
  // The meters of tensor, pipeline, data, model and, where there is one, embedding; empty without meter().
  const std::vector<MeteredCommunicator*>& meters() const { return meters_; }

 private:
  World* world_;
  GridShape shape_;
  GridCoordinates at_;
  std::vector<std::unique_ptr<Communicator>> metered_;  // what the meters count for; outlives them
  std::unique_ptr<Communicator> tensor_, pipeline_, data_, model_, embedding_;
  std::vector<MeteredCommunicator*> meters_;
};

}  // namespace triax
