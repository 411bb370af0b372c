// What each pipeline rank keeps in memory.
#include <algorithm>

#include "triax/plan/layer_cost.h"
#include "triax/train/engine_plan.h"

namespace triax {
namespace {

// The stashes do not grow with the micro-batches once the pipeline is full; GPipe keeps all of them.
PipelineShape representative(const StepPlan& plan) {
  PipelineShape shape = plan.shape();
  const int p = shape.pipeline_parallel;
  if (plan.schedule != ScheduleKind::gpipe && shape.micro_batches > 4 * p)
    shape.micro_batches = 3 * p + shape.micro_batches % p;
  return shape;
}

// Layers' worth of activations of a rank at their peak; `weight_share` of a layer's stays from the input gradient to
// the weight gradient.
double layers_in_flight(const StepPlan& plan, const std::vector<int64_t>& layers, int rank, double weight_share) {
  const PipelineShape shape = representative(plan);
  double now = 0, peak = 0;
  for (const Action& action : schedule(plan.schedule, shape, rank)) {
    if (action.is_message()) continue;
    const auto count = static_cast<double>(layers[static_cast<size_t>(shape.stage_of(rank, action.chunk))]);
    if (action.kind == ActionKind::forward) now += count;
    peak = std::max(peak, now);
    if (action.kind == ActionKind::backward) now -= count;
    if (action.kind == ActionKind::backward_input) now -= count * (1 - weight_share);
    if (action.kind == ActionKind::backward_weight) now -= count * weight_share;
  }
  return peak;
}

// What the first micro-batches in flight on each chunk keep although others are recomputed, in layers.
double layers_kept(const StepPlan& plan, const std::vector<int64_t>& layers, int rank) {
  const PipelineShape shape = representative(plan);
  const std::vector<Action> list = schedule(plan.schedule, shape, rank);
  double kept = 0;
  for (int chunk = 0; chunk < shape.virtual_pipeline; ++chunk) {
    int64_t now = 0, peak = 0;
    for (const Action& action : list) {
      if (action.is_message() || action.chunk != chunk) continue;
      if (action.kind == ActionKind::forward) peak = std::max(peak, ++now);
      if (action.kind == ActionKind::backward || action.kind == ActionKind::backward_weight) --now;
    }
    kept += static_cast<double>(std::min(plan.keep_micro_batches, peak) * layers[static_cast<size_t>(shape.stage_of(rank, chunk))]);
  }
  return kept;
}

RankMemory gpu_rank(const StepPlan& plan, const Hardware& hardware, int rank) {
  const CostShape c = cost_shape(plan, hardware);
  const std::vector<int64_t> layers = layers_of_stages(plan);
  const auto d = static_cast<double>(plan.data_parallel);
  const int p = static_cast<int>(plan.pipeline_parallel);
  const double weights = parameters_of_rank(plan, rank);
  const auto gradient = static_cast<double>(hardware.software.gradient_bytes);
  const LayerShape layer{c.s, c.b, c.h, c.a, c.t};
  const double kept = layer_activation_bytes(layer, plan.recompute, c.sequence_parallel);
  const double whole = layer_activation_bytes(layer, Recomputation::none, c.sequence_parallel);
  const double logits = rank == p - 1 ? 6 * (plan.model.is_bert() ? kMaskedShare : 1) * c.n * c.vocabulary / c.t : 0;
  RankMemory memory;
  const auto add = [&](const char* purpose, double bytes) {
    if (bytes > 0) memory.uses.push_back({purpose, static_cast<size_t>(bytes)});
  };
  add("weights", 2 * weights / (plan.zero_stage >= 3 ? d : 1));
  add("gradients", gradient * weights / (plan.zero_stage >= 2 ? d : 1));
  // fp32 weights and Adam's two moments; a fp32 copy of gradients that are kept in half precision.
  add("optimizer", (12 + (gradient < 4 ? 4 : 0)) * weights / (plan.zero_stage >= 1 ? d : 1));
  // 32 of the 34 sbh stay until the weight gradient (Qi et al. 2023, Table 1).
  double activations = layers_in_flight(plan, layers, rank, 32.0 / 34) * kept;
  if (plan.keep_micro_batches > 0) activations += layers_kept(plan, layers, rank) * (whole - kept);
  if (rank == 0) activations += c.n * c.h / c.t * std::min<double>(p, static_cast<double>(plan.micro_batches()));
  add("activations in flight", activations);
  double working = 4 * c.n * c.h / (c.sequence_parallel ? c.t : 1);
  if (plan.recompute == Recomputation::full) working += whole;
  if (plan.recompute == Recomputation::selective) working += 5 * c.b * c.a * c.s * c.s / c.t;
  if (c.sequence_parallel) working += 2 * 2 * c.n * c.h;  // the gathered inputs of the layer at work
  add("layer at work", working);
  add("logits", logits);
  if (p > 1) add("messages between stages", 4 * 2 * c.n * c.h / c.t);
  if (plan.zero_stage >= 2)
    add("gathered weights, gradients", 2 * (2 + (plan.zero_stage == 3 ? 2 : 0)) * weights / std::max<double>(1, static_cast<double>(layers[static_cast<size_t>(rank)] * plan.virtual_pipeline)));
  add("fragmentation", hardware.device.fragmentation * (activations + working + logits));
  add("driver and libraries", hardware.device.reserved_bytes);
  return memory;
}

}  // namespace

double RankMemory::total() const {
  double bytes = 0;
  for (const MemoryUse& use : uses) bytes += static_cast<double>(use.bytes);
  return bytes;
}

std::vector<RankMemory> predict_memory(const StepPlan& plan, const Hardware& hardware) {
  std::vector<RankMemory> memory;
  const bool cpu = hardware.device.kind == "cpu";
  RunConfig run;
  if (cpu) {
    apply(plan, run);
    run.resolve(static_cast<int>(plan.devices()));
  }
  for (int rank = 0; rank < static_cast<int>(plan.pipeline_parallel); ++rank) {
    if (!cpu) {
      memory.push_back(gpu_rank(plan, hardware, rank));
      continue;
    }
    RankMemory& r = memory.emplace_back();
    r.uses = plan_memory(run.engine(), {.pipeline = rank});
    r.uses.push_back({"process", static_cast<size_t>(hardware.device.reserved_bytes)});
  }
  return memory;
}

double largest(const std::vector<RankMemory>& memory) {
  double most = 0;
  for (const RankMemory& rank : memory) most = std::max(most, rank.total());
  return most;
}

}  // namespace triax
