// One training step on a cluster: how long each part of it takes, and what each rank keeps in memory.
//
// The cost model adds up, for every layer and chunk, its matrix products by shape, the bytes of everything between
// them, and its exchanges between tensor-parallel ranks; the pipeline is then simulated with these times on the very
// lists that the trainer's executor runs (pipeline/schedule.h). docs/planning.md says what is left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "triax/pipeline/schedule_properties.h"
#include "triax/plan/formulas.h"
#include "triax/plan/hardware.h"
#include "triax/train/run_config.h"

namespace triax {

// What is asked: a model, a batch, a grid.
struct StepPlan {
  ModelConfig model;
  int64_t sequence_length = 2048;
  int64_t micro_batch_size = 1, global_batch_size = 1;
  int64_t tensor_parallel = 1, pipeline_parallel = 1, data_parallel = 1, virtual_pipeline = 1;
  ScheduleKind schedule = ScheduleKind::interleaved_1f1b;
  bool sequence_parallel = false;
  int zero_stage = 0;
  Recomputation recompute = Recomputation::none;
  int64_t keep_micro_batches = 0;  // in flight on a chunk that keep everything whatever `recompute` says
  Precision precision = Precision::bf16;
  std::vector<int64_t> stage_layers;  // empty: as even as can be

  int64_t devices() const { return tensor_parallel * pipeline_parallel * data_parallel; }
  int64_t micro_batches() const { return global_batch_size / (micro_batch_size * data_parallel); }
  PipelineShape shape() const {
    return {static_cast<int>(pipeline_parallel), static_cast<int>(virtual_pipeline), static_cast<int>(micro_batches())};
  }
};
// train.recompute of a run stands for the papers' modes here. data_parallel = 0: what `devices` leave (0: 1).
StepPlan plan_of(const RunConfig& run, int64_t devices = 0);
// Writes the plan's batch, grid and layers of stages into a run, for `triax train`.
void apply(const StepPlan& plan, RunConfig& run);
// "t 8 x p 12 x d 4, b 1, v 4, interleaved_1f1b, full recomputation, ZeRO 1"
std::string describe(const StepPlan& plan);

// Throws Error naming the keys, and the nearest that would do, when the plan cannot be run on such devices.
void validate(const StepPlan& plan, const Hardware& hardware);
// Layers of each stage, p * v of them.
std::vector<int64_t> layers_of_stages(const StepPlan& plan);
// Parameters on a tensor rank of a pipeline rank, before ZeRO shares them; the last has a copy of the tied embedding.
double parameters_of_rank(const StepPlan& plan, int rank);

// Seconds, of one device.
struct TimeParts {
  double gemm = 0;      // matrix products
  double memory = 0;    // norms, dropout, softmax, GELU, sums of gradients
  double tensor = 0;    // exchanges between tensor-parallel ranks that nothing hides
  double pipeline = 0;  // the same between stages
  double host = 0;      // the program itself
  double total() const { return gemm + memory + tensor + pipeline + host; }
  TimeParts& operator+=(const TimeParts& other);
};
TimeParts operator*(double factor, TimeParts parts);

// One micro-batch through one layer.
struct LayerTimes {
  TimeParts forward, recompute, backward_input, backward_weight;
};
LayerTimes layer_times(const StepPlan& plan, const Hardware& hardware);

// One micro-batch through one chunk of a rank: what the simulator is asked for.
struct ChunkTimes {
  TimeParts forward, recompute, backward_input, backward_weight;
};

struct StepPrediction {
  double seconds = 0;            // of the whole step
  double pipeline_seconds = 0;   // of its micro-batches
  double data_seconds = 0;       // exchange of gradients and weights that nothing hides
  double optimizer_seconds = 0;
  double straggler_seconds = 0;  // waiting for the slowest device
  std::vector<TimeParts> busy;   // of each pipeline rank, in the whole step; longer where ranks slow each other down
  double bubble = 0;             // idle share of the pipeline's time
  double tflops_per_device = 0;  // as the papers count: Eq. 3, of Eq. 8 or Eq. 7, by the plan's recomputation
  double mfu = 0;                // of Eq. 7, over the device's peak
  double tokens_per_second = 0;
  double message_seconds = 0;    // of one message between stages
};

enum class Detail {
  full,  // every micro-batch is simulated
  fast,  // a few rounds are, and the rest continues as they do
};
StepPrediction predict_step(const StepPlan& plan, const Hardware& hardware, Detail detail = Detail::full);

// The simulation itself, for pictures and traces.
struct SimulatedStep {
  std::vector<std::vector<Action>> lists;
  Simulation simulation;
  double message_seconds = 0;
};
SimulatedStep simulate_step(const StepPlan& plan, const Hardware& hardware);

// ---- memory -----------------------------------------------------------------------------------------------------

struct RankMemory {
  std::vector<MemoryUse> uses;  // by purpose
  double total() const;
};
// Of each pipeline rank. On a GPU as Megatron keeps it (Korthikanti et al. 2022, section 4); on a CPU exactly what
// `triax train` allocates.
std::vector<RankMemory> predict_memory(const StepPlan& plan, const Hardware& hardware);
double largest(const std::vector<RankMemory>& memory);

}  // namespace triax
