#include "triax/plan/step.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "triax/base/error.h"
#include "triax/pipeline/partition.h"
#include "triax/plan/layer_cost.h"

namespace triax {
namespace {

// One message between stages: over the network, and back together over the links of the host.
double stage_message_seconds(const StepPlan& plan, const Hardware& hardware) {
  if (plan.pipeline_parallel == 1) return 0;
  const auto t = static_cast<double>(plan.tensor_parallel);
  const CostShape c = cost_shape(plan, hardware);
  const double bytes = c.element * c.n * c.h;
  const bool same_node = plan.devices() <= hardware.node.devices;
  const bool sequence = plan.sequence_parallel && plan.tensor_parallel > 1;
  const bool parts = plan.tensor_parallel > 1 && (hardware.software.scatter_gather || sequence);
  const double sent = message_seconds(hardware, parts ? bytes / t : bytes, same_node, hardware.node.devices);
  if (!parts || sequence) return sent;
  return sent + gather_seconds(hardware, c.tensor_place, bytes);
}

// By rank and chunk.
using Times = std::vector<std::vector<ChunkTimes>>;

Times chunk_times(const StepPlan& plan, const Hardware& hardware) {
  const CostShape c = cost_shape(plan, hardware);
  const LayerTimes layer = layer_times(plan, hardware);
  const std::vector<int64_t> layers = layers_of_stages(plan);
  const double message = hardware.software.overlap_pipeline ? 0 : stage_message_seconds(plan, hardware);
  const bool adds_gradients = !hardware.software.fused_gradient_accumulation && plan.micro_batches() > 1;
  const PipelineShape shape = plan.shape();
  Times times(static_cast<size_t>(plan.pipeline_parallel));
  for (int rank = 0; rank < shape.pipeline_parallel; ++rank) {
    // The new gradient is read, the sum read and written.
    const double sum_bytes = parameters_of_rank(plan, rank) * (2 + 2 * static_cast<double>(hardware.software.gradient_bytes));
    for (int chunk = 0; chunk < shape.virtual_pipeline; ++chunk) {
      const int stage = shape.stage_of(rank, chunk);
      const auto count = static_cast<double>(layers[static_cast<size_t>(stage)]);
      ChunkTimes& t = times[static_cast<size_t>(rank)].emplace_back();
      t.forward = count * layer.forward;
      t.recompute = count * layer.recompute;
      t.backward_input = count * layer.backward_input;
      t.backward_weight = count * layer.backward_weight;
      if (adds_gradients) t.backward_weight.memory += memory_seconds(hardware.device, sum_bytes) / shape.virtual_pipeline;
      const auto add = [&](const ChunkTimes& more) {
        t.forward += more.forward, t.backward_input += more.backward_input, t.backward_weight += more.backward_weight;
      };
      if (stage == 0) add(embedding_times(c));
      if (stage == shape.stages() - 1) add(head_times(c));
      if (stage != shape.stages() - 1) t.forward.pipeline += message;
      if (stage != 0) t.backward_input.pipeline += message;
      t.forward.host += hardware.software.stage_overhead;
      t.backward_input.host += hardware.software.stage_overhead;
    }
  }
  return times;
}

// How much slower a rank computes while `stages` ranks of each pipeline do, beside when all ranks of the host do.
double slowdown(const StepPlan& plan, const Hardware& hardware, int64_t stages) {
  const std::vector<double>& measured = hardware.device.share_slowdown;
  if (measured.empty()) return 1;
  const int64_t on_host = std::min(plan.devices(), hardware.node.devices);
  const int64_t busy = (on_host * stages + plan.pipeline_parallel - 1) / plan.pipeline_parallel;
  return measured[static_cast<size_t>(std::clamp<int64_t>(busy, 1, std::ssize(measured)) - 1)];
}

// Which micro-batches keep everything although others are recomputed: those that find one of the first places on their
// chunk free, as the engine gives them out.
class KeptMicroBatches {
 public:
  KeptMicroBatches(const StepPlan& plan, ActionLists lists) {
    if (plan.recompute == Recomputation::none || plan.keep_micro_batches == 0) return;
    const auto chunks = static_cast<size_t>(plan.virtual_pipeline);
    for (const std::vector<Action>& list : lists) {
      kept_.emplace_back(chunks);
      std::vector<std::map<int, int64_t>> place_of(chunks);  // of the micro-batches in flight
      for (const Action& action : list) {
        if (action.is_message() || action.kind == ActionKind::backward_input) continue;
        std::map<int, int64_t>& places = place_of[static_cast<size_t>(action.chunk)];
        if (action.kind != ActionKind::forward) {
          places.erase(action.micro_batch);
          continue;
        }
        std::set<int64_t> taken;
        for (const auto& [micro_batch, place] : places) taken.insert(place);
        int64_t place = 0;
        while (taken.contains(place)) ++place;
        places[action.micro_batch] = place;
        if (place < plan.keep_micro_batches) kept_.back()[static_cast<size_t>(action.chunk)].insert(action.micro_batch);
      }
    }
  }
  bool contains(int rank, int chunk, int micro_batch) const {
    return !kept_.empty() && kept_[static_cast<size_t>(rank)][static_cast<size_t>(chunk)].contains(micro_batch);
  }

 private:
  std::vector<std::vector<std::set<int>>> kept_;  // by rank and chunk; empty: none
};

// The micro-batches of a step.
struct PipelineTime {
  std::vector<std::vector<Action>> lists;
  Simulation simulation;
  std::vector<TimeParts> busy;  // of each rank
  double seconds = 0;
};

PipelineTime simulate_with(const StepPlan& plan, const Hardware& hardware, const Times& times, int micro_batches) {
  PipelineShape shape = plan.shape();
  shape.micro_batches = micro_batches;
  PipelineTime result;
  result.lists = schedules(plan.schedule, shape);
  const KeptMicroBatches kept(plan, result.lists);
  const auto parts = [&](int rank, const Action& action) {
    const ChunkTimes& t = times[static_cast<size_t>(rank)][static_cast<size_t>(action.chunk)];
    if (action.kind == ActionKind::forward) return t.forward;
    if (action.kind == ActionKind::backward_weight) return t.backward_weight;
    TimeParts backward = t.backward_input;
    if (!kept.contains(rank, action.chunk, action.micro_batch)) backward += t.recompute;
    if (action.kind == ActionKind::backward) backward += t.backward_weight;
    return backward;
  };
  const double message = hardware.software.overlap_pipeline ? stage_message_seconds(plan, hardware) : 0;
  const auto duration = [&](int rank, const Action& action) { return action.is_message() ? message : parts(rank, action).total(); };
  if (hardware.device.share_slowdown.empty())
    result.simulation = simulate(result.lists, shape, duration);
  else
    result.simulation = simulate(result.lists, shape, duration, [&](int stages) { return slowdown(plan, hardware, stages); });
  for (int rank = 0; rank < shape.pipeline_parallel; ++rank) {
    TimeParts sum;
    for (const Action& action : result.lists[static_cast<size_t>(rank)])
      if (!action.is_message()) sum += parts(rank, action);
    const double stretch = sum.total() > 0 ? result.simulation.busy[static_cast<size_t>(rank)] / sum.total() : 1;
    result.busy.push_back(stretch * sum);
  }
  result.seconds = steps_interlock(plan.schedule) ? longest_rank(result.lists, result.simulation) : result.simulation.makespan;
  return result;
}

// With fewer micro-batches than the step has, where that is allowed: those after the first few take as long as each other.
PipelineTime pipeline_time(const StepPlan& plan, const Hardware& hardware, const Times& times, Detail detail) {
  const int m = static_cast<int>(plan.micro_batches()), p = static_cast<int>(plan.pipeline_parallel);
  const int few = (plan.schedule == ScheduleKind::zb_h2 ? 3 : 2) * p + m % p, more = few + p;
  // Which micro-batches are kept does not repeat with p.
  const bool all = (detail == Detail::full && p > 1) || plan.keep_micro_batches > 0;
  if (all || more >= m) return simulate_with(plan, hardware, times, m);
  const PipelineTime short_one = simulate_with(plan, hardware, times, few);
  PipelineTime longer = simulate_with(plan, hardware, times, more);
  const double rounds = static_cast<double>(m - more) / p;
  longer.seconds += (longer.seconds - short_one.seconds) * rounds;
  for (size_t rank = 0; rank < longer.busy.size(); ++rank) {
    TimeParts round = longer.busy[rank];
    round += -1.0 * short_one.busy[rank];
    longer.busy[rank] += rounds * round;
  }
  return longer;
}

GroupPlace data_place(const StepPlan& plan, const Hardware& hardware) {
  const int64_t node = hardware.node.devices;
  const int64_t in_node = std::clamp<int64_t>(node / plan.tensor_parallel, 1, plan.data_parallel);
  return {.size = plan.data_parallel, .in_node = in_node, .groups_in_node = std::max<int64_t>(1, node / in_node)};
}

// Gradients are summed, and with ZeRO weights handed out again, over the data-parallel ranks; the tied embedding's
// gradient over first and last stage.
double data_seconds(const StepPlan& plan, const Hardware& hardware, double weights, double backward_seconds) {
  const GroupPlace place = data_place(plan, hardware);
  const double gradients = weights * static_cast<double>(hardware.software.gradient_bytes);
  const double weight_bytes = weights * cost_shape(plan, hardware).element;
  double seconds = 0;
  if (plan.zero_stage == 0) seconds = all_reduce_seconds(hardware, place, gradients);
  if (plan.zero_stage == 1 || plan.zero_stage == 2)
    seconds = gather_seconds(hardware, place, gradients) + gather_seconds(hardware, place, weight_bytes);
  // Sharded gradients do not survive a micro-batch whole: each is scattered. Sharded weights are gathered for each
  // forward and each backward.
  const auto m = static_cast<double>(plan.micro_batches());
  if (plan.zero_stage == 2) seconds += (m - 1) * gather_seconds(hardware, place, gradients);
  if (plan.zero_stage == 3) {
    // Layer by layer.
    const auto layers = static_cast<double>(plan.model.num_layers) / static_cast<double>(plan.pipeline_parallel);
    const bool again = hardware.software.regathers && plan.recompute == Recomputation::full;
    const double host = hardware.software.part_overhead * static_cast<double>(plan.data_parallel);
    const auto exchange = [&](double bytes) {
      const double copied = 2 * static_cast<double>(hardware.software.exchange_copies) * bytes;
      return gather_seconds(hardware, place, bytes) + (copied > 0 ? memory_seconds(hardware.device, copied) : 0);
    };
    seconds = m * layers * ((again ? 3 : 2) * (exchange(weight_bytes / layers) + host) + exchange(gradients / layers));
  }
  if (hardware.software.overlap_data) {
    const double behind = plan.zero_stage >= 2 ? m * backward_seconds : backward_seconds;
    seconds = std::max(0.1 * seconds / m, seconds - behind);
  }
  if (plan.pipeline_parallel > 1) {
    const double table = static_cast<double>(plan.model.padded_vocab_size(static_cast<int>(plan.tensor_parallel)) *
                                             plan.model.hidden_size / plan.tensor_parallel);
    seconds += 2 * message_seconds(hardware, table * static_cast<double>(hardware.software.gradient_bytes),
                                   plan.devices() <= hardware.node.devices, hardware.node.devices) / 2;
  }
  return seconds;
}

// Gradients to fp32, checked, normed, clipped; Adam; weights rounded again: about 60 bytes a parameter.
constexpr double kOptimizerBytes = 60;

// "Model FLOPs": Eq. 7 of Korthikanti et al. 2022, or for a BERT, whose head no paper counts, as the trainer counts them.
double model_flops(const StepPlan& plan) {
  if (!plan.model.is_bert()) return published_model_flops(plan.model, plan.sequence_length, plan.global_batch_size);
  return plan.model.flops_per_token(plan.sequence_length) * static_cast<double>(plan.global_batch_size * plan.sequence_length);
}

double flops_as_published(const StepPlan& plan) {
  if (plan.model.is_bert()) return model_flops(plan);
  switch (plan.recompute) {
    case Recomputation::full: return published_flops(plan.model, plan.sequence_length, plan.global_batch_size);
    case Recomputation::selective: return published_selective_flops(plan.model, plan.sequence_length, plan.global_batch_size);
    case Recomputation::none: break;
  }
  return model_flops(plan);
}

// Expected largest of n draws from a normal distribution, in standard deviations.
double expected_largest(double n) {
  if (n < 2) return 0;
  const double root = std::sqrt(2 * std::log(n));
  return root - (std::log(std::log(n)) + std::log(4 * M_PI)) / (2 * root);
}

}  // namespace

TimeParts& TimeParts::operator+=(const TimeParts& other) {
  gemm += other.gemm, memory += other.memory, tensor += other.tensor, pipeline += other.pipeline;
  host += other.host;
  return *this;
}

TimeParts operator*(double factor, TimeParts parts) {
  parts.gemm *= factor, parts.memory *= factor, parts.tensor *= factor, parts.pipeline *= factor, parts.host *= factor;
  return parts;
}

std::vector<int64_t> layers_of_stages(const StepPlan& plan) {
  if (!plan.stage_layers.empty()) return plan.stage_layers;
  const int64_t stages = plan.pipeline_parallel * plan.virtual_pipeline;
  if (plan.model.num_layers % stages == 0)
    return std::vector<int64_t>(static_cast<size_t>(stages), plan.model.num_layers / stages);
  return partition_layers(plan.model.num_layers, static_cast<int>(plan.pipeline_parallel),
                          static_cast<int>(plan.virtual_pipeline), 0);
}

double parameters_of_rank(const StepPlan& plan, int rank) {
  const std::vector<int64_t> layers = layers_of_stages(plan);
  const auto h = static_cast<double>(plan.model.hidden_size), f = static_cast<double>(plan.model.ffn_size());
  double weights = 0;
  for (size_t s = static_cast<size_t>(rank); s < layers.size(); s += static_cast<size_t>(plan.pipeline_parallel))
    weights += static_cast<double>(layers[s]) * (4 * h * h + 2 * h * f + 9 * h + f);
  const auto table = static_cast<double>(plan.model.padded_vocab_size(static_cast<int>(plan.tensor_parallel))) * h;
  if (rank == 0) weights += table + static_cast<double>(plan.model.max_positions) * h;
  if (rank == plan.pipeline_parallel - 1 && plan.pipeline_parallel > 1) weights += table;
  if (rank == plan.pipeline_parallel - 1 && plan.model.is_bert())  // not split
    weights += static_cast<double>(plan.tensor_parallel) * 2 * h * h;
  return weights / static_cast<double>(plan.tensor_parallel);
}

StepPrediction predict_step(const StepPlan& plan, const Hardware& hardware, Detail detail) {
  validate(plan, hardware);
  const Times times = chunk_times(plan, hardware);
  StepPrediction result;
  result.message_seconds = stage_message_seconds(plan, hardware);
  const PipelineTime pipeline = pipeline_time(plan, hardware, times, detail);
  result.pipeline_seconds = pipeline.seconds;
  result.busy = pipeline.busy;
  double most_weights = 0, backward = 0, busy = 0;
  for (int rank = 0; rank < static_cast<int>(plan.pipeline_parallel); ++rank) {
    double rank_backward = 0;
    for (const ChunkTimes& t : times[static_cast<size_t>(rank)])
      rank_backward += t.recompute.total() + t.backward_input.total() + t.backward_weight.total();
    busy += pipeline.busy[static_cast<size_t>(rank)].total();
    backward = std::max(backward, rank_backward);
    most_weights = std::max(most_weights, parameters_of_rank(plan, rank));
  }
  result.bubble = plan.pipeline_parallel == 1 ? 0 : 1 - busy / (result.pipeline_seconds * static_cast<double>(plan.pipeline_parallel));
  result.data_seconds = data_seconds(plan, hardware, most_weights, backward);
  const double owned = most_weights / (plan.zero_stage >= 1 ? static_cast<double>(plan.data_parallel) : 1);
  result.optimizer_seconds = profiled(plan, hardware) >= 0 ? owned * hardware.profile.optimizer_per_parameter
                                                           : memory_seconds(hardware.device, owned * kOptimizerBytes, 20);
  result.optimizer_seconds *= slowdown(plan, hardware, plan.pipeline_parallel);
  result.straggler_seconds = result.pipeline_seconds * hardware.cost.step_variation * expected_largest(static_cast<double>(plan.devices()));
  result.seconds = result.pipeline_seconds + result.data_seconds + result.optimizer_seconds + result.straggler_seconds;
  const double devices = static_cast<double>(plan.devices());
  result.tflops_per_device = flops_as_published(plan) / (devices * result.seconds) / 1e12;
  result.mfu = model_flops(plan) / (devices * result.seconds * hardware.device.peak_flops);
  result.tokens_per_second = static_cast<double>(plan.global_batch_size * plan.sequence_length) / result.seconds;
  return result;
}

SimulatedStep simulate_step(const StepPlan& plan, const Hardware& hardware) {
  validate(plan, hardware);
  SimulatedStep step;
  PipelineTime pipeline = simulate_with(plan, hardware, chunk_times(plan, hardware), static_cast<int>(plan.micro_batches()));
  step.lists = std::move(pipeline.lists);
  step.simulation = std::move(pipeline.simulation);
  step.message_seconds = stage_message_seconds(plan, hardware);
  return step;
}

}  // namespace triax
