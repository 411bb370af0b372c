// What one rank of a grid holds and does in a step, worked out from the configuration alone: its stages, its
// schedule, and every byte it will allocate. The engine allocates from this plan, and the planner adds it up
// for ranks that are not there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "triax/comm/process_grid.h"
#include "triax/models/stage_model.h"
#include "triax/optim/loss_scaler.h"
#include "triax/optim/optimizer.h"
#include "triax/pipeline/schedule.h"

namespace triax {

// On a GPU only: tf32, fp32 but for products; fp8, bf16 but for the products of layers' linears.
enum class Precision { fp32, bf16, fp16, tf32, fp8 };
inline std::string_view name_of(Precision precision) {
  constexpr std::string_view kNames[] = {"fp32", "bf16", "fp16", "tf32", "fp8"};
  return kNames[static_cast<size_t>(precision)];
}
inline DType compute_type(Precision precision) {
  if (precision == Precision::bf16 || precision == Precision::fp8) return DType::bf16;
  return precision == Precision::fp16 ? DType::f16 : DType::f32;
}

struct ParallelConfig {
  GridShape grid;  // data_parallel filled in
  ScheduleKind schedule = ScheduleKind::interleaved_1f1b;
  int virtual_pipeline = 1;
  std::vector<int64_t> stage_layers;  // layers of each stage; empty: by partition_layers()
  bool sequence_parallel = false;
  int zero_stage = 0;
  bool scatter_gather = true;  // with tensor parallelism, only 1 / t of an activation crosses between stages
  bool overlap = true;         // exchanges of the data-parallel ranks with computation
};

struct EngineConfig {
  ModelConfig model;
  BertHeadConfig head = kPretraining;  // of a BERT
  int64_t sequence_length = 1024;
  int64_t micro_batch_size = 4;
  // Micro-batches are rectangles of these two; or packed: up to so many sequences of up to that length, of any number of
  // tokens up to this.
  int64_t packed_tokens = 0;
  int64_t max_micro_batches = 1;  // in one step, of one pipeline
  bool training = true;           // false: no step is made, so that there are no gradients, no optimizer, and nothing is kept for a backward
  Precision precision = Precision::fp32;
  AttentionBackend attention = AttentionBackend::own;  // on a GPU, of micro-batches that are not packed
  Recompute recompute = Recompute::none;
  int64_t keep_micro_batches = 0;  // so many in flight on a chunk keep everything all the same
  AdamWConfig optimizer;
  double clip_gradient = 1.0;  // 0: no clipping
  LossScaling loss_scaling;    // of fp16
  uint64_t seed = 1234;
  ParallelConfig parallel;
  Device device;  // of a rank

  DType compute_type() const { return triax::compute_type(precision); }
  // At most.
  int64_t micro_batch_tokens() const { return packed_tokens > 0 ? packed_tokens : sequence_length * micro_batch_size; }
  // What the tokens of a packed micro-batch must be a multiple of: tensor-parallel ranks share them, or what is sent of them.
  int64_t token_multiple() const {
    const bool shared = parallel.sequence_parallel || (parallel.scatter_gather && parallel.grid.pipeline_parallel > 1);
    return shared ? parallel.grid.tensor_parallel : 1;
  }
  PipelineShape pipeline(int64_t micro_batches) const {
    return {.pipeline_parallel = parallel.grid.pipeline_parallel,
            .virtual_pipeline = parallel.virtual_pipeline,
            .micro_batches = static_cast<int>(micro_batches)};
  }
};

// Throws Error naming the keys when the model, the batch or the schedule do not fit the grid, and says what
// would.
void validate(const EngineConfig& config);

struct ChunkPlan {
  ModelPart part;
  int kept = 0;       // of the stashes, those that keep everything whatever EngineConfig::recompute says
  int stashes = 1;    // micro-batches between forward and the end of backward, at most
  int deferred = 0;   // of these, between the two parts of a backward
};

struct EnginePlan {
  std::vector<ChunkPlan> chunks;
  std::vector<int64_t> stage_layers;  // of all stages
  Shape message;                      // of the activations between stages
  bool splits_message = false;        // each tensor-parallel rank sends its part
  bool split_backward = false;
};
EnginePlan plan_engine(const EngineConfig& config, const GridCoordinates& at);
// The longest list of actions of a rank, from which follows what it needs memory for.
std::vector<Action> longest_schedule(const EngineConfig& config, int pipeline_rank);

// The memory of a rank at `at`, by purpose; the sizes are exactly those of what Engine allocates.
std::vector<MemoryUse> plan_memory(const EngineConfig& config, const GridCoordinates& at);

// The micro-batch at work in the memory of a device other than the CPU: of a GPT what is to be guessed, of a BERT types and
// orders besides the tokens.
struct StagedBatch {
  Tensor tokens, positions, targets, types;  // i32 [n]
  Tensor weights;                            // f32 [n]
  Tensor order, order_weights;               // i32, f32 [b]
};

// A place in an arena, from `begin` to `end`, where what one micro-batch needs lies. It is as long as the largest one needs,
// and laid out anew, from its beginning, for one of another size.
struct Extent {
  size_t begin = 0, end = 0;
  int64_t tokens = 0, sequences = 0;
  bool with_backward = true;
};
struct StashPlace {
  StageShape shape;
  Extent extent;
  StageStash stash;
};
struct DeferredPlace {
  StageShape shape;
  Extent extent;
  StageDeferred deferred;
};
struct WorkspacePlace {
  StageShape shape;
  Extent extent;
  StageWorkspace workspace;
};
// For a micro-batch of n tokens (in b sequences); does nothing where the last one was like it.
void lay_out(StashPlace& place, int64_t n, bool with_backward, Arena& arena);
void lay_out(DeferredPlace& place, int64_t n, Arena& arena);
void lay_out(WorkspacePlace& place, int64_t n, int64_t b, bool with_backward, Arena& arena);

// Memory that all chunks of a rank work in.
struct EngineBuffers {
  std::vector<std::vector<StashPlace>> stashes;      // by chunk
  std::vector<std::vector<DeferredPlace>> deferred;  // by chunk
  std::vector<WorkspacePlace> workspaces;            // by chunk, all in the same memory
  Tensor gradient, output;                         // [r, h]; only with a pipeline
  StagedBatch staged;                              // not on a CPU
};
// On a measuring arena tells the sizes. shapes: one for each chunk. Each fills its part of the buffers anew.
void allocate_activations(const EngineConfig& config, const EnginePlan& plan, std::span<const StageShape> shapes,
                          EngineBuffers& buffers, Arena& arena);
void allocate_workspace(const EngineConfig& config, const EnginePlan& plan, std::span<const StageShape> shapes,
                        EngineBuffers& buffers, Arena& arena);

// Bytes for the operands of a product in FP8; 0 where none is.
size_t operand_bytes(const EngineConfig& config);

// The shapes of a rank's chunks. `tensor`: its tensor-parallel group.
std::vector<StageShape> chunk_shapes(const EngineConfig& config, const EnginePlan& plan, const TensorParallel& tensor);

}  // namespace triax
