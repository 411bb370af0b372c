#include "triax/train/expected_volume.h"

namespace triax {
namespace {

ActivationSize masked(ActivationSize size) {
  size.sequence_length *= kMaskedShare;
  return size;
}

// Elements that the tensor-parallel ranks exchange for one micro-batch in one chunk.
double tensor_volume(const EngineConfig& config, const ModelPart& part, const ActivationSize& size, int t) {
  const auto layers = static_cast<int>(part.num_layers);
  double volume = tensor_layer_volume(size, t, layers);
  if (config.recompute == Recompute::full) volume += tensor_recompute_volume(size, t, layers);
  if (config.recompute == Recompute::selective && config.parallel.sequence_parallel)
    volume += sequence_regather_volume(size, t, layers);
  if (part.has_embedding) volume += embedding_volume(size, t);
  if (!part.has_head) return volume;
  if (!config.model.is_bert()) return volume + head_volume(size, t);
  if (config.head.is_task()) return volume + (config.parallel.sequence_parallel ? head_volume(size, t) / 2 : 0);
  // The head sees the masked tokens only; where tokens are split it gathers all to find them.
  return volume + head_volume(masked(size), t) + (config.parallel.sequence_parallel ? head_volume(size, t) / 2 : 0);
}

}  // namespace

ExpectedVolume expected_volume(const EngineConfig& config, const GridCoordinates& at, int micro_batches) {
  const ParallelConfig& parallel = config.parallel;
  const GridShape& grid = parallel.grid;
  const EnginePlan plan = plan_engine(config, at);
  const ActivationSize size{static_cast<double>(config.micro_batch_size), static_cast<double>(config.sequence_length),
                            static_cast<double>(config.model.hidden_size)};
  const auto compute = static_cast<double>(size_of(config.compute_type())), f32 = 4.0;
  PipelineTraffic traffic{grid.pipeline_parallel, parallel.virtual_pipeline, micro_batches, at.pipeline,
                          grid.tensor_parallel, plan.splits_message};
  ExpectedVolume expected;
  expected.tensor = scatter_gather_volume(size, traffic) * compute;
  traffic.scatter_gather = plan.splits_message || parallel.sequence_parallel;  // its residual stream is split anyway
  expected.pipeline = pipeline_volume(size, traffic) * compute;
  for (const ChunkPlan& chunk : plan.chunks) {
    expected.tensor += micro_batches * tensor_volume(config, chunk.part, size, grid.tensor_parallel) * compute;
    if (chunk.part.has_head && !config.head.is_task())
      expected.tensor += micro_batches * f32 *
                         cross_entropy_volume(config.model.is_bert() ? masked(size) : size, grid.tensor_parallel);
    const StageLayout layout = declare_stage(config.model, chunk.part, at.tensor, grid.tensor_parallel, config.head);
    const DataParallelVolume data = data_parallel_volume(static_cast<double>(layout.table.num_parameters()),
                                                         grid.data_parallel, parallel.zero_stage, micro_batches);
    expected.data += data.gradients * f32 + data.weights * compute;
    if (layout.token_table >= 0 && grid.pipeline_parallel > 1 && !config.head.is_task())
      expected.embedding += tied_gradient_volume(static_cast<double>(layout.table[layout.token_table].numel())) * f32 /
                            (parallel.zero_stage > 0 ? grid.data_parallel : 1);
  }
  return expected;
}

std::vector<VolumeRow> volume_rows(const ProcessGrid& grid, const ExpectedVolume& expected) {
  std::vector<VolumeRow> rows;
  for (const MeteredCommunicator* meter : grid.meters()) {
    const CommunicationVolume& volume = meter->volume();
    double formula = 0;
    if (meter->group() == "tensor") formula = expected.tensor;
    if (meter->group() == "pipeline") formula = expected.pipeline;
    if (meter->group() == "data") formula = expected.data;
    if (meter->group() == "embedding") formula = expected.embedding;
    if (meter->size() > 1 && (volume.calls() > 0 || formula > 0))
      rows.push_back({meter->group(), volume.calls(), volume.bytes_sent(), formula});
  }
  return rows;
}

}  // namespace triax
