#include "triax/comm/process_grid.h"

#include <algorithm>
#include <array>
#include <vector>

#include "triax/base/error.h"
#include "triax/base/text.h"
#include "triax/comm/nccl_communicator.h"
#include "triax/comm/staged_communicator.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

struct Axis {
  int size;
  int GridCoordinates::* coordinate;
};

// The axes in their order, the fastest first.
std::array<Axis, 3> axes_of(const GridShape& shape) {
  std::array<Axis, 3> axes{};
  size_t count = 0;
  const std::vector<std::string> names = split(shape.order, '-');
  for (const std::string& name : names) {
    if (count == axes.size()) break;
    if (name == "tp") axes[count++] = {shape.tensor_parallel, &GridCoordinates::tensor};
    if (name == "pp") axes[count++] = {shape.pipeline_parallel, &GridCoordinates::pipeline};
    if (name == "dp") axes[count++] = {shape.data_parallel, &GridCoordinates::data};
  }
  const bool complete = names.size() == 3 && count == 3 && names[0] != names[1] && names[1] != names[2] && names[0] != names[2];
  check(complete, "rank order \"{}\" must name tp, dp and pp once each, the fastest first, as in \"tp-dp-pp\"", shape.order);
  return axes;
}

}  // namespace

GridShape fit_grid(GridShape shape, int ranks) {
  check(shape.tensor_parallel >= 1, "tensor_parallel = {} must be at least 1", shape.tensor_parallel);
  check(shape.pipeline_parallel >= 1, "pipeline_parallel = {} must be at least 1", shape.pipeline_parallel);
  check(shape.data_parallel >= 0, "data_parallel = {} must be at least 1, or 0 for all ranks that are left", shape.data_parallel);
  axes_of(shape);
  const int64_t model = int64_t{shape.tensor_parallel} * shape.pipeline_parallel;
  const int64_t below = ranks / model * model, above = below + model;
  if (shape.data_parallel == 0) {
    check(ranks % model == 0,
          "tensor_parallel {} x pipeline_parallel {} = {} does not divide the job's {} ranks: start {}{} ranks",
          shape.tensor_parallel, shape.pipeline_parallel, model, ranks,
          below > 0 ? fmt::format("{} or ", below) : "", above);
    shape.data_parallel = static_cast<int>(ranks / model);
  }
  const int64_t wanted = model * shape.data_parallel;
  if (wanted == ranks) return shape;
  fail("tensor_parallel {} x pipeline_parallel {} x data_parallel {} = {} ranks, but the job has {}: {}start {} ranks",
       shape.tensor_parallel, shape.pipeline_parallel, shape.data_parallel, wanted, ranks,
       ranks % model == 0 ? fmt::format("set data_parallel = {}, or ", ranks / model) : "", wanted);
}

GridCoordinates coordinates_of(const GridShape& shape, int rank) {
  GridCoordinates at;
  for (const Axis& axis : axes_of(shape)) {
    at.*axis.coordinate = rank % axis.size;
    rank /= axis.size;
  }
  return at;
}

int rank_of(const GridShape& shape, const GridCoordinates& at) {
  int rank = 0, stride = 1;
  for (const Axis& axis : axes_of(shape)) {
    rank += at.*axis.coordinate * stride;
    stride *= axis.size;
  }
  return rank;
}

ProcessGrid::ProcessGrid(World& world, const GridShape& shape)
    : world_(&world), shape_(fit_grid(shape, world.size())), at_(coordinates_of(shape_, world.rank())) {
  // Ranks of a group agree in the other coordinates, so the rank of the one at 0 can stand for it.
  const auto with = [&](auto... zero) {
    GridCoordinates first = at_;
    ((first.*zero = 0), ...);
    return rank_of(shape_, first);
  };
  // Tensors of the host pass through; those of a GPU are staged.
  const auto split = [&](const char* name, int color, int key) -> std::unique_ptr<Communicator> {
    std::unique_ptr<Communicator> group = world.split(name, color, key);
    return group ? std::make_unique<StagedCommunicator>(std::move(group)) : nullptr;
  };
  tensor_ = split("tensor", with(&GridCoordinates::tensor), at_.tensor);
  pipeline_ = split("pipeline", with(&GridCoordinates::pipeline), at_.pipeline);
  data_ = split("data", with(&GridCoordinates::data), at_.data);
  model_ = split("model", with(&GridCoordinates::tensor, &GridCoordinates::pipeline),
                       at_.tensor + shape_.tensor_parallel * at_.pipeline);
  if (shape_.pipeline_parallel > 1)
    embedding_ = split("embedding", first_stage() || last_stage() ? with(&GridCoordinates::pipeline) : -1, at_.pipeline);
}

void ProcessGrid::use_nccl(Device device) {
  check(nccl_missing().empty(), "parallel.nccl: {}", nccl_missing());
  check(world_->local_size() <= static_cast<int>(find_gpus().gpus.size()),
        "parallel.nccl = true needs a GPU for each of the {} ranks of a machine, and this one has {}; set it to false, so that "
        "ranks can share GPUs", world_->local_size(), find_gpus().gpus.size());
  for (auto* group : {&tensor_, &pipeline_, &data_, &model_, &embedding_})
    if (*group && (*group)->size() > 1) *group = make_nccl_communicator(std::move(*group), device, group == &pipeline_);
}

void ProcessGrid::meter(Trace* trace) {
  check(meters_.empty(), "the process grid is metered already");
  const auto put_on = [&](std::unique_ptr<Communicator>& group, const char* name, TraceCategory category) {
    if (!group) return;
    // Pipelines differ in their tensor and data coordinates.
    const int index = at_.tensor + shape_.tensor_parallel * at_.data;
    metered_.push_back(std::move(group));
    auto meter = std::make_unique<MeteredCommunicator>(
        *metered_.back(), MeterOptions{.group = name, .category = category, .trace = trace, .index = index});
    meters_.push_back(meter.get());
    group = std::move(meter);
  };
  put_on(tensor_, "tensor", TraceCategory::tensor);
  put_on(pipeline_, "pipeline", TraceCategory::data);
  put_on(data_, "data", TraceCategory::data);
  put_on(model_, "model", TraceCategory::data);
  put_on(embedding_, "embedding", TraceCategory::data);
}

std::string ProcessGrid::to_string() const {
  return fmt::format("tp {}/{}, pp {}/{}, dp {}/{}", at_.tensor, shape_.tensor_parallel, at_.pipeline,
                     shape_.pipeline_parallel, at_.data, shape_.data_parallel);
}

}  // namespace triax
