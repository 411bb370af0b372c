#include "triax/train/engine_plan.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/comm/absent_group.h"
#include "triax/kernels/device_queue.h"
#include "triax/optim/data_parallel.h"
#include "triax/pipeline/executor.h"
#include "triax/pipeline/partition.h"

namespace triax {
namespace {

// Time of the head's matrix products in layers.
double head_cost(const EngineConfig& config) {
  const ModelConfig& model = config.model;
  if (model.is_bert() && config.head.is_task()) return 0;  // next to nothing
  const int64_t sequence_length = config.sequence_length;
  const auto h = static_cast<double>(model.hidden_size), s = static_cast<double>(sequence_length);
  const double layer = 8 * h * h + (model.is_bert() ? 4 : 2) * s * h + 4 * h * static_cast<double>(model.ffn_size());
  const double logits = 2 * h * static_cast<double>(model.vocab_size);
  return (model.is_bert() ? kMaskedShare * (logits + 2 * h * h) : logits) / layer;
}

// Most micro-batches between forward and the end of backward (between the parts of a backward) of a chunk.
void count_in_flight(std::span<const Action> list, int chunk, ChunkPlan& plan) {
  int stashes = 0, deferred = 0;
  for (const Action& action : list) {
    if (action.is_message() || action.chunk != chunk) continue;
    if (action.kind == ActionKind::forward) plan.stashes = std::max(plan.stashes, ++stashes);
    if (action.kind == ActionKind::backward_input) plan.deferred = std::max(plan.deferred, ++deferred);
    if (action.kind == ActionKind::backward_weight) --deferred;
    if (action.kind == ActionKind::backward_weight || action.kind == ActionKind::backward) --stashes;
  }
}

void validate_tensor_parallel(const EngineConfig& config) {
  const int t = config.parallel.grid.tensor_parallel;
  config.model.validate(t);
  check(config.packed_tokens % config.token_multiple() == 0, "packed micro-batches of {} tokens cannot be shared by {} ranks", config.packed_tokens, t);
  check(config.packed_tokens > 0 || !config.parallel.sequence_parallel || config.micro_batch_tokens() % t == 0,
        "parallel.sequence_parallel: train.micro_batch_size {} x train.sequence_length {} = {} tokens cannot be "
        "shared by parallel.tensor_parallel = {} ranks",
        config.micro_batch_size, config.sequence_length, config.micro_batch_tokens(), t);
}

// The next place of an arena: not laid out yet, and as long as what is laid out there first.
Extent next_place(const Arena& arena) { return {.begin = arena.mark(), .end = 0}; }

template <typename Allocate>
void place_anew(Extent& extent, const Extent& wanted, Arena& arena, Allocate&& allocate) {
  const bool first = extent.end == 0;
  if (!first && extent.tokens == wanted.tokens && extent.sequences == wanted.sequences && extent.with_backward == wanted.with_backward) return;
  const size_t behind = arena.mark();
  arena.release(extent.begin);
  allocate();
  if (first) extent.end = arena.mark();
  check(arena.mark() <= extent.end, "a micro-batch of {} tokens needs more memory than the largest that was planned for", wanted.tokens);
  if (!first) arena.release(behind);
  extent = {extent.begin, extent.end, wanted.tokens, wanted.sequences, wanted.with_backward};
}

void validate_attention(const EngineConfig& config) {
  if (config.attention == AttentionBackend::own) return;
  const BlockConfig block = config.model.block();
  const auto needs = [](bool there, std::string_view what) {
    check(there, "train.attention = \"cudnn\" needs {}; \"own\", triax's kernels, does not", what);
  };
  needs(config.device.kind != Device::Kind::cpu, "train.device = \"cuda\"");
  needs(config.compute_type() != DType::f32, "train.precision = \"bf16\", \"fp16\" or \"fp8\"");
  needs(block.attention_dropout == 0, "model.attention_dropout = 0");
  needs(library_has_heads(block.head_dim()), "heads of up to 128 elements, a multiple of 8 (model.hidden_size / model.num_heads)");
  needs(config.packed_tokens == 0, "micro-batches of sequences of one length");
}

}  // namespace

void validate(const EngineConfig& config) {
  check(config.sequence_length <= config.model.max_positions,
        "train.sequence_length = {} is longer than model.max_positions = {}; raise the one or lower the other",
        config.sequence_length, config.model.max_positions);
  validate_tensor_parallel(config);
  check(!config.optimizer.stochastic_rounding || config.compute_type() == DType::bf16,
        "optimizer.stochastic_rounding rounds bf16 weights and needs train.precision = \"bf16\" or \"fp8\"");
  check(config.precision != Precision::tf32 || config.device.kind != Device::Kind::cpu,
        "train.precision = \"tf32\" is a way of GPUs to multiply and needs train.device = \"cuda\"; a CPU has \"fp32\"");
  check(config.precision != Precision::fp8 || config.device.kind != Device::Kind::cpu,
        "train.precision = \"fp8\" is a way of GPUs to multiply and needs train.device = \"cuda\"; a CPU has \"bf16\"");
  validate_attention(config);
  const ParallelConfig& parallel = config.parallel;
  check(parallel.virtual_pipeline == 1 || parallel.grid.pipeline_parallel > 1,
        "parallel.virtual_pipeline = {} needs parallel.pipeline_parallel > 1: with one stage there is nothing to interleave",
        parallel.virtual_pipeline);
  check(!splits_backward(parallel.schedule) || config.recompute != Recompute::full,
        "parallel.schedule = \"{}\" computes weight gradients later, from what train.recompute = \"full\" has "
        "dropped by then; use \"none\" or \"selective\"", name_of(parallel.schedule));
  validate(parallel.schedule, config.pipeline(config.max_micro_batches));
  if (!parallel.stage_layers.empty())
    check_partition(parallel.stage_layers, config.model.num_layers, config.pipeline(1).stages());
}

std::vector<Action> longest_schedule(const EngineConfig& config, int pipeline_rank) {
  const PipelineShape shape = config.pipeline(config.max_micro_batches);
  return config.training ? schedule(config.parallel.schedule, shape, pipeline_rank) : forward_only_schedule(shape, pipeline_rank);
}

EnginePlan plan_engine(const EngineConfig& config, const GridCoordinates& at) {
  const ParallelConfig& parallel = config.parallel;
  const PipelineShape shape = config.pipeline(config.max_micro_batches);
  EnginePlan plan;
  plan.stage_layers = parallel.stage_layers;
  if (plan.stage_layers.empty())
    plan.stage_layers = partition_layers(config.model.num_layers, shape.pipeline_parallel, shape.virtual_pipeline,
                                         head_cost(config));
  plan.split_backward = config.training && splits_backward(parallel.schedule) && shape.pipeline_parallel > 1;
  const std::vector<Action> list = longest_schedule(config, at.pipeline);
  for (int chunk = 0; chunk < shape.virtual_pipeline; ++chunk) {
    const auto stage = static_cast<size_t>(shape.stage_of(at.pipeline, chunk));
    ChunkPlan& c = plan.chunks.emplace_back();
    for (size_t s = 0; s < stage; ++s) c.part.first_layer += plan.stage_layers[s];
    c.part.num_layers = plan.stage_layers[stage];
    c.part.has_embedding = stage == 0;
    c.part.has_head = stage + 1 == plan.stage_layers.size();
    if (config.training) count_in_flight(list, chunk, c);
    if (!plan.split_backward) c.deferred = 0;
    if (config.recompute != Recompute::none)
      c.kept = static_cast<int>(std::min<int64_t>(config.keep_micro_batches, c.stashes));
  }
  const int64_t n = config.micro_batch_tokens(), t = parallel.grid.tensor_parallel;
  const bool splits_tokens = parallel.sequence_parallel && t > 1;
  plan.splits_message = !splits_tokens && t > 1 && parallel.scatter_gather && n % t == 0;
  plan.message = {splits_tokens || plan.splits_message ? n / t : n, config.model.hidden_size};
  return plan;
}

std::vector<StageShape> chunk_shapes(const EngineConfig& config, const EnginePlan& plan, const TensorParallel& tensor) {
  std::vector<StageShape> shapes;
  for (const ChunkPlan& chunk : plan.chunks)
    shapes.push_back({.config = config.model, .part = chunk.part, .parallel = tensor, .recompute = config.recompute,
                      .compute_type = config.compute_type(), .sequences = config.micro_batch_size, .head = config.head,
                      .device = config.device, .attention = config.attention});
  return shapes;
}

void lay_out(StashPlace& place, int64_t n, bool with_backward, Arena& arena) {
  place_anew(place.extent, {.tokens = n, .with_backward = with_backward}, arena,
             [&] { place.stash = StageModel::allocate_stash(place.shape, n, arena, with_backward); });
}

void lay_out(DeferredPlace& place, int64_t n, Arena& arena) {
  place_anew(place.extent, {.tokens = n}, arena, [&] { place.deferred = StageModel::allocate_deferred(place.shape, n, arena); });
}

void lay_out(WorkspacePlace& place, int64_t n, int64_t b, bool with_backward, Arena& arena) {
  place_anew(place.extent, {.tokens = n, .sequences = b, .with_backward = with_backward}, arena, [&] {
    place.shape.sequences = b;
    place.workspace = StageModel::allocate_workspace(place.shape, n, with_backward, arena);
  });
}

void allocate_activations(const EngineConfig& config, const EnginePlan& plan, std::span<const StageShape> shapes,
                          EngineBuffers& buffers, Arena& arena) {
  const int64_t n = config.micro_batch_tokens();
  buffers.stashes.clear(), buffers.deferred.clear();
  for (size_t c = 0; c < shapes.size(); ++c) {
    buffers.stashes.emplace_back();
    buffers.deferred.emplace_back();
    StageShape keeping = shapes[c];
    keeping.recompute = Recompute::none;
    for (int i = 0; i < plan.chunks[c].stashes; ++i)
      lay_out(buffers.stashes.back().emplace_back(StashPlace{.shape = i < plan.chunks[c].kept ? keeping : shapes[c], .extent = next_place(arena), .stash = {}}), n,
              config.training, arena);
    for (int i = 0; i < plan.chunks[c].deferred; ++i)
      lay_out(buffers.deferred.back().emplace_back(DeferredPlace{.shape = shapes[c], .extent = next_place(arena), .deferred = {}}), n, arena);
  }
  if (config.device.kind == Device::Kind::cpu) return;
  StagedBatch& staged = buffers.staged;
  for (Tensor* ids : {&staged.tokens, &staged.positions}) *ids = arena.allocate({n}, DType::i32);
  if (config.model.is_bert()) {
    staged.types = arena.allocate({n}, DType::i32);
    staged.order = arena.allocate({config.micro_batch_size}, DType::i32);
    staged.order_weights = arena.allocate({config.micro_batch_size}, DType::f32);
  } else {
    staged.targets = arena.allocate({n}, DType::i32);
    staged.weights = arena.allocate({n}, DType::f32);
  }
}

void allocate_workspace(const EngineConfig& config, const EnginePlan& plan, std::span<const StageShape> shapes,
                        EngineBuffers& buffers, Arena& arena) {
  const int64_t n = config.micro_batch_tokens();
  const size_t begin = arena.mark();
  size_t end = begin;
  buffers.workspaces.clear();
  for (const StageShape& shape : shapes) {  // one chunk works at a time
    arena.release(begin);
    lay_out(buffers.workspaces.emplace_back(WorkspacePlace{.shape = shape, .extent = next_place(arena), .workspace = {}}), n, config.micro_batch_size, config.training,
            arena);
    end = std::max(end, arena.mark());
  }
  arena.release(end);
  if (config.parallel.grid.pipeline_parallel == 1) return;
  const Shape rows = {shapes[0].parallel.residual_rows(n), config.model.hidden_size};
  if (config.training) buffers.gradient = arena.allocate(rows, config.compute_type());
  if (plan.splits_message) buffers.output = arena.allocate(rows, config.compute_type());
}

size_t operand_bytes(const EngineConfig& config) {
  if (config.precision != Precision::fp8) return 0;
  return TransformerBlock::float8_bytes(config.model.block(), config.parallel.grid.tensor_parallel, config.micro_batch_tokens());
}

std::vector<MemoryUse> plan_memory(const EngineConfig& config, const GridCoordinates& at) {
  const GridShape& grid = config.parallel.grid;
  const EnginePlan plan = plan_engine(config, at);
  AbsentGroup tensor(at.tensor, grid.tensor_parallel);
  const std::vector<StageShape> shapes =
      chunk_shapes(config, plan, {.group = &tensor, .sequence_parallel = config.parallel.sequence_parallel});
  const Sharding sharding{config.parallel.zero_stage, at.data, grid.data_parallel};
  std::vector<MemoryUse> rows;
  const auto add = [&](const std::string& purpose, size_t bytes) {
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const MemoryUse& r) { return r.purpose == purpose; });
    if (row != rows.end()) row->bytes += bytes;
    else if (bytes > 0) rows.push_back({purpose, bytes});
  };
  size_t optimizer = 0, exchange = 0;
  for (const StageShape& shape : shapes) {
    ParameterTable table = declare_stage(shape.config, shape.part, at.tensor, grid.tensor_parallel, shape.head).table;
    table.lay_out(grid.data_parallel);
    for (const MemoryUse& use : Parameters::memory(table, shape.compute_type, config.training, sharding)) add(use.purpose, use.bytes);
    if (config.training) optimizer += Optimizer::bytes(table, sharding);
    exchange += DataParallel::buffer_bytes(table, shape.compute_type, config.training, sharding);
  }
  add("optimizer (Adam m, v)", optimizer);
  EngineBuffers buffers;
  Arena activations(config.device), workspace(config.device), messages(config.device);
  allocate_activations(config, plan, shapes, buffers, activations);
  allocate_workspace(config, plan, shapes, buffers, workspace);
  PipelineBuffers::allocate(longest_schedule(config, at.pipeline), plan.message, config.compute_type(), messages);
  add("activations", activations.peak());
  add("workspace, logits", workspace.peak());
  add("messages between stages", messages.peak());
  add("gathered weights, gradients", exchange);
  add("operands in FP8", operand_bytes(config));
  add("scratch of kernels", queue_bytes(config.device));
  return rows;
}

}  // namespace triax
