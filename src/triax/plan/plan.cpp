// A plan and the run it stands for.
#include <algorithm>

#include "triax/base/error.h"
#include "triax/plan/step.h"

namespace triax {

StepPlan plan_of(const RunConfig& run, int64_t devices) {
  StepPlan plan;
  plan.model = run.model;
  plan.sequence_length = run.train.sequence_length > 0 ? run.train.sequence_length : run.model.max_positions;
  plan.micro_batch_size = run.train.micro_batch_size;
  plan.global_batch_size = run.train.global_batch_size;
  const GridConfig& grid = run.parallel;
  plan.tensor_parallel = grid.tensor_parallel;
  plan.pipeline_parallel = grid.pipeline_parallel;
  plan.data_parallel = grid.data_parallel > 0 ? grid.data_parallel
                                              : std::max<int64_t>(1, devices / (grid.tensor_parallel * grid.pipeline_parallel));
  plan.virtual_pipeline = grid.virtual_pipeline;
  plan.schedule = grid.schedule;
  plan.sequence_parallel = grid.sequence_parallel;
  plan.zero_stage = static_cast<int>(grid.zero_stage);
  plan.recompute = static_cast<Recomputation>(run.train.recompute);
  plan.keep_micro_batches = run.train.keep_micro_batches;
  plan.precision = run.train.precision;
  plan.stage_layers = grid.stage_layers;
  return plan;
}

void apply(const StepPlan& plan, RunConfig& run) {
  run.model = plan.model;
  run.train.sequence_length = plan.sequence_length;
  run.train.micro_batch_size = plan.micro_batch_size;
  run.train.global_batch_size = plan.global_batch_size;
  run.train.recompute = static_cast<Recompute>(plan.recompute);
  run.train.keep_micro_batches = plan.keep_micro_batches;
  run.train.precision = plan.precision;
  GridConfig& grid = run.parallel;
  grid.tensor_parallel = plan.tensor_parallel;
  grid.pipeline_parallel = plan.pipeline_parallel;
  grid.data_parallel = plan.data_parallel;
  grid.virtual_pipeline = plan.virtual_pipeline;
  grid.schedule = plan.schedule;
  grid.sequence_parallel = plan.sequence_parallel;
  grid.zero_stage = plan.zero_stage;
  grid.stage_layers = plan.pipeline_parallel > 1 ? layers_of_stages(plan) : std::vector<int64_t>{};
}

std::string describe(const StepPlan& plan) {
  constexpr const char* kRecompute[] = {"no recomputation", "selective recomputation", "full recomputation"};
  std::string text = fmt::format("t {} x p {} x d {}, b {}", plan.tensor_parallel, plan.pipeline_parallel,
                                 plan.data_parallel, plan.micro_batch_size);
  if (plan.pipeline_parallel > 1) {
    if (plan.virtual_pipeline > 1) text += fmt::format(", v {}", plan.virtual_pipeline);
    const bool plain = plan.schedule == ScheduleKind::interleaved_1f1b && plan.virtual_pipeline == 1;
    text += fmt::format(", {}", name_of(plain ? ScheduleKind::one_f_one_b : plan.schedule));
  }
  text += fmt::format(", {}", kRecompute[static_cast<size_t>(plan.recompute)]);
  if (plan.recompute != Recomputation::none && plan.keep_micro_batches > 0) text += fmt::format(" but of {}", plan.keep_micro_batches);
  if (plan.sequence_parallel) text += ", sequence parallel";
  if (plan.zero_stage > 0) text += fmt::format(", ZeRO {}", plan.zero_stage);
  return text;
}

void validate(const StepPlan& plan, const Hardware& hardware) {
  RunConfig run;
  apply(plan, run);
  run.train.device = hardware.device.kind == "cpu" ? Device::Kind::cpu : Device::Kind::cuda;
  run.resolve(static_cast<int>(plan.devices()));
  validate(run.engine());
}

}  // namespace triax
