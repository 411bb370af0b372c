#include "triax/train/engine.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

// Tensors are views without const; what is only read may come from const memory.
Tensor read_only(const std::vector<int32_t>& values) {
  return {const_cast<int32_t*>(values.data()), {static_cast<int64_t>(values.size())}, DType::i32};
}

// As large as what `allocate` takes of it: measured first, and then taken.
template <typename Allocate>
std::unique_ptr<Arena> make_arena(const char* purpose, Device device, Allocate&& allocate) {
  Arena measure(device);
  allocate(measure);
  auto arena = std::make_unique<Arena>(purpose, std::max<size_t>(measure.peak(), Arena::kAlignment), device);
  allocate(*arena);
  return arena;
}

Tensor tensor_of(std::vector<float>& values) { return {values.data(), {static_cast<int64_t>(values.size())}, DType::f32}; }

// Takes a free place for a micro-batch: the first, since the first ones may keep more.
int take(std::vector<int>& free, std::vector<int>& place_of, int micro_batch) {
  check(!free.empty(), "more micro-batches are in flight than the schedule was planned for");
  const auto first = std::min_element(free.begin(), free.end());
  const int place = *first;
  free.erase(first);
  place_of[static_cast<size_t>(micro_batch)] = place;
  return place;
}

void give_back(std::vector<int>& free, std::vector<int>& place_of, int micro_batch) {
  free.push_back(std::exchange(place_of[static_cast<size_t>(micro_batch)], -1));
}

}  // namespace

Engine::Engine(const EngineConfig& config, const ProcessGrid* grid, std::unique_ptr<DeviceQueue> queue)
    : config_(config), grid_(grid), queue_(std::move(queue)) {
  if (grid) config_.parallel.grid = grid->shape();
  validate(config_);
  check(!steps_interlock(config_.parallel.schedule),
        "parallel.schedule = \"{}\" is only for `triax plan`: here all ranks wait for the gradient's norm between two steps, "
        "which takes what it gains over \"zb_h1\" and leaves its memory; train with \"zb_h1\"",
        name_of(config_.parallel.schedule));
  if (grid) config_.device = device_of_rank(config_.device.kind, grid->world().local_rank());
  if (!queue_) queue_ = make_queue(config_.device);
  if (queue_) use_queue();
  plan_ = plan_engine(config_, at());
  if (config_.precision == Precision::fp16) scaler_ = LossScaler(config_.loss_scaling);
  const ParallelConfig& parallel = config_.parallel;
  if (grid) tensor_ = {.group = &grid->tensor(), .sequence_parallel = parallel.sequence_parallel};
  const std::vector<StageShape> shapes = chunk_shapes(config_, plan_, tensor_);

  EngineBuffers buffers;
  const Device device = config_.device;
  activations_ = make_arena("activations", device, [&](Arena& arena) { allocate_activations(config_, plan_, shapes, buffers, arena); });
  workspace_arena_ = make_arena("workspace", device, [&](Arena& arena) { allocate_workspace(config_, plan_, shapes, buffers, arena); });
  gradient_ = buffers.gradient;
  output_ = buffers.output;
  staged_ = buffers.staged;
  const std::vector<Action> list = longest_schedule(config_, at().pipeline);
  message_arena_ = make_arena("messages", device, [&](Arena& arena) { messages_ = PipelineBuffers::allocate(list, plan_.message, config_.compute_type(), arena); });

  const Sharding sharding{parallel.zero_stage, at().data, parallel.grid.data_parallel};
  Communicator* partial = tensor_.replicated_gradients_need_sum() ? tensor_.group : nullptr;
  for (size_t c = 0; c < shapes.size(); ++c) {
    std::unique_ptr<StageModel> model = make_stage_model(shapes[c], config_.training, sharding);
    Parameters& parameters = model->parameters();
    auto chunk = std::unique_ptr<Chunk>(
        new Chunk{.model = std::move(model),
                  .data = DataParallel(parameters, grid ? &grid->data() : nullptr, partial, parallel.overlap),
                  .optimizer = Optimizer(parameters, config_.optimizer),
                  .stashes = std::move(buffers.stashes[c]),
                  .deferred = std::move(buffers.deferred[c]),
                  .workspace = std::move(buffers.workspaces[c]),
                  .stash_of = {}, .deferred_of = {}, .free_stashes = {}, .free_deferred = {}});
    chunk->model->set_unit_use(&chunk->data);
    chunks_.push_back(std::move(chunk));
  }
}

Engine::~Engine() = default;

void Engine::use_queue() {
  queue_->tf32 = config_.precision == Precision::tf32;
  check(config_.precision != Precision::fp8 || queue_->has_float8,
        "train.precision = \"fp8\" needs a GPU of compute capability 8.9 or newer (Ada, Hopper), which this one is not; use \"bf16\"");
  if (const size_t bytes = operand_bytes(config_); bytes > 0) operands_ = Buffer(bytes, config_.device, "operands in FP8");
  queue_->float8 = {operands_.data(), operands_.bytes()};
  context_ = queue_->context();
}

void Engine::initialize() {
  for (auto& chunk : chunks_) chunk->model->parameters().initialize(context_, config_.seed);
  weights_changed();
}

void Engine::weights_changed() {
  for (auto& chunk : chunks_) {
    chunk->optimizer.refresh_copies(context_);
    chunk->data.share_weights();
  }
}

void Engine::settle() {
  for (auto& chunk : chunks_) chunk->data.finish();
}

void Engine::set_steps_done(int64_t steps) {
  for (auto& chunk : chunks_) chunk->optimizer.set_steps_done(steps);
}

bool Engine::holds_whole_model() const {
  const GridShape& grid = config_.parallel.grid;
  return grid.tensor_parallel == 1 && grid.pipeline_parallel == 1 &&
         !chunks_[0]->model->parameters().sharding().weights();
}

void Engine::sum_over_world(std::span<double> values) const {
  if (grid_)
    grid_->world().communicator().all_reduce({values.data(), {static_cast<int64_t>(values.size())}, DType::f64});
}

Engine::Step Engine::begin(std::span<const TokenBatch> batches) const {
  std::array<double, 3> counts = {0, 0, 0};  // targets, orders, tokens
  for (const TokenBatch& batch : batches) {
    const std::vector<float>& counting = config_.head.is_task() ? batch.task.weights : batch.loss_mask;
    const double targets = std::accumulate(counting.begin(), counting.end(), 0.0);
    counts[0] += targets;
    counts[1] += std::accumulate(batch.order_mask.begin(), batch.order_mask.end(), 0.0);
    if (targets == 0) continue;  // a batch that does not count
    for (const Span& span : batch.spans) counts[2] += static_cast<double>(span.length);
  }
  if (grid_) grid_->data().all_reduce({counts.data(), {3}, DType::f64});
  const auto share = [](double count) { return count > 0 ? 1 / count : 0; };
  return {.batches = batches, .weight = share(counts[0]), .order_weight = share(counts[1]), .tokens = static_cast<int64_t>(counts[2]), .loss = {}};
}

// ---- the step

void Engine::run(std::span<const Action> list, std::vector<ActionSpan>* spans) {
  for (auto& chunk : chunks_) {
    chunk->stash_of.assign(step_.batches.size(), -1);
    chunk->deferred_of.assign(step_.batches.size(), -1);
    chunk->free_stashes.resize(chunk->stashes.size());
    chunk->free_deferred.resize(chunk->deferred.size());
    std::iota(chunk->free_stashes.begin(), chunk->free_stashes.end(), 0);
    std::iota(chunk->free_deferred.begin(), chunk->free_deferred.end(), 0);
  }
  std::vector<int64_t> rows;
  for (const TokenBatch& batch : step_.batches) {
    const auto n = static_cast<int64_t>(batch.tokens.size());
    check(n <= config_.micro_batch_tokens() && (config_.packed_tokens == 0 || n % config_.token_multiple() == 0),
          "a micro-batch of {} tokens, where multiples of {} up to {} were planned for", n, config_.token_multiple(), config_.micro_batch_tokens());
    rows.push_back(plan_.splits_message ? n / tensor_.size() : tensor_.residual_rows(n));
  }
  run_schedule(list, grid_ ? &grid_->pipeline() : nullptr, messages_, *this, spans, rows);
}

StepResult Engine::train_step(int64_t step, LearningRate rate, std::span<const TokenBatch> batches) {
  check(config_.training, "an engine without gradients cannot train");
  step_ = begin(batches);
  step_.number = step;
  step_.training = true;
  check(step_.weight > 0 || config_.head.is_task(), "step {}: no token of the batch has a target that counts", step);
  check(static_cast<int64_t>(batches.size()) <= config_.max_micro_batches,
        "step {} has {} micro-batches, more than the {} that were planned for", step, batches.size(),
        config_.max_micro_batches);
  for (auto& chunk : chunks_) {
    std::vector<int> uses = chunk->model->gradient_uses(plan_.split_backward);
    for (int& u : uses) u *= static_cast<int>(batches.size());
    chunk->data.begin_step(context_, std::move(uses));
  }
  spans_.clear();
  run(schedule(config_.parallel.schedule, config_.pipeline(static_cast<int64_t>(batches.size())), at().pipeline), &spans_);
  for (auto& chunk : chunks_) chunk->data.finish_gradients();
  sum_tied_gradients();

  const TraceScope scope(trace_, {.category = TraceCategory::optimizer});
  const StepResult result = sum_up();
  const bool clips = config_.clip_gradient > 0 && result.gradient_norm > config_.clip_gradient;
  if (before_update_) before_update_();
  for (auto& chunk : chunks_) {
    if (result.skipped) break;
    std::vector<double> rates;
    for (const ParameterUnit& unit : chunk->model->parameters().table().units())
      rates.push_back(unit.name == "classifier" ? rate.classifier : rate.all);
    chunk->optimizer.step(context_, rates,
                          (clips ? config_.clip_gradient / result.gradient_norm : 1.0) / scaler_.scale());
    chunk->data.share_weights();
  }
  scaler_.update(step, result.skipped);
  return result;
}

StepResult Engine::evaluate(std::span<const TokenBatch> batches) {
  step_ = begin(batches);
  if (!batches.empty())
    run(forward_only_schedule(config_.pipeline(static_cast<int64_t>(batches.size())), at().pipeline), nullptr);
  std::array<double, 2> losses = {0, 0};
  if (at().tensor == 0) losses = {step_.loss.tokens, step_.loss.order};
  sum_over_world(losses);
  return {.loss = losses[0] + losses[1], .parts = {losses[0], losses[1]}, .tokens = step_.tokens};
}

void Engine::predict(std::span<const TokenBatch> batches, const TakeLogits& take) {
  check(config_.head.is_task(), "only the head of a task predicts");
  if (batches.empty()) return;
  step_ = {.batches = batches, .loss = {}, .take = &take};
  run(forward_only_schedule(config_.pipeline(static_cast<int64_t>(batches.size())), at().pipeline), nullptr);
}

// The table of the first and the last stage is one parameter; that of a task's head needs none.
void Engine::sum_tied_gradients() {
  if (!grid_ || !grid_->embedding() || config_.head.is_task()) return;
  for (auto& chunk : chunks_) {
    const Parameters& parameters = chunk->model->parameters();
    if (!chunk->model->part().has_embedding && !chunk->model->part().has_head) continue;
    for (const OwnedRange& range : parameters.owned())
      if (parameters.table().units()[static_cast<size_t>(range.unit)].name == "embedding.token")
        grid_->embedding()->all_reduce(parameters.gradient(range));
  }
}

StepResult Engine::sum_up() const {
  GradientSquares mine;
  for (const auto& chunk : chunks_) {
    const GradientSquares part = gradient_squares(context_, chunk->model->parameters(), at().tensor == 0);
    mine.sum += part.sum;
    if (mine.not_finite.empty()) mine.not_finite = part.not_finite;
  }
  std::array<double, 3> sums = {0, 0, mine.sum};
  if (at().tensor == 0) sums[0] = step_.loss.tokens, sums[1] = step_.loss.order;
  sum_over_world(sums);
  const StageLoss parts{sums[0], sums[1]};
  const StepResult result{.loss = parts.total(),
                          .gradient_norm = std::sqrt(sums[2]) / scaler_.scale(),
                          .parts = parts,
                          .tokens = step_.tokens,
                          .loss_scale = scaler_.active() ? scaler_.scale() : 0,
                          .skipped = scaler_.active() && !(std::isfinite(parts.total()) && std::isfinite(sums[2]))};
  if (result.skipped || std::isfinite(sums[2])) return result;
  // A rank that knows the parameter says so; the others wait until it has.
  if (mine.not_finite.empty() && grid_) grid_->world().communicator().barrier();
  fail("step {}: the gradient of {} is NaN or infinite (the loss was {:.4f}). {}", step_.number,
       mine.not_finite.empty() ? "a parameter" : mine.not_finite, parts.total(), remedy());
}

// ---- computations of the schedule

MicroBatch Engine::stage(const TokenBatch& batch) {
  const auto share = [](double weight, const std::vector<float>& mask, std::vector<float>& shares) {
    shares.resize(mask.size());
    for (size_t i = 0; i < mask.size(); ++i) shares[i] = static_cast<float>(weight) * mask[i];
  };
  share(step_.weight, batch.loss_mask, weights_);
  share(step_.order_weight, batch.order_mask, order_weights_);
  MicroBatch micro;
  micro.tokens = read_only(batch.tokens);
  micro.targets = read_only(batch.targets);
  micro.positions = read_only(batch.positions);
  micro.weights = tensor_of(weights_);
  if (config_.model.is_bert()) {
    const TaskTargets& t = batch.task;
    task_ = {.labels = t.labels, .weights = t.weights, .values = t.values, .starts = t.starts, .ends = t.ends, .choices = t.choices};
    micro.task = step_.take ? nullptr : &task_;
    micro.types = read_only(batch.types);
    micro.order = read_only(batch.order);
    micro.order_weights = tensor_of(order_weights_);
  }
  if (queue_) {
    // A shorter micro-batch takes the first part of the memory; what has none stays in the host's.
    const auto upload = [](Tensor& from, const Tensor& memory) {
      if (!memory.defined()) return;
      const Tensor to = memory.narrow(0, 0, from.numel());
      copy_between_devices(from, to);
      from = to;
    };
    upload(micro.tokens, staged_.tokens), upload(micro.positions, staged_.positions);
    upload(micro.targets, staged_.targets), upload(micro.weights, staged_.weights);
    upload(micro.types, staged_.types);
    upload(micro.order, staged_.order), upload(micro.order_weights, staged_.order_weights);
  }
  const bool packed = config_.packed_tokens > 0;
  micro.layout = {.spans = batch.spans,
                  .max_length = packed ? batch.max_length : config_.sequence_length,
                  .first_token = packed ? batch.first_token : batch.first_sample * config_.sequence_length,
                  .seed = config_.seed,
                  .step = static_cast<uint32_t>(step_.number),
                  .training = step_.training};
  return micro;
}

// All chunks work in the same memory, in which each has its own layout.
StageWorkspace& Engine::workspace_for(Chunk& chunk, const TokenBatch& batch) {
  const auto n = static_cast<int64_t>(batch.tokens.size());
  const int64_t b = config_.packed_tokens > 0 ? static_cast<int64_t>(batch.spans.size()) : config_.micro_batch_size;
  lay_out(chunk.workspace, n, b, step_.training, *workspace_arena_);
  return chunk.workspace.workspace;
}

void Engine::compute(const Action& action, const Tensor& input, const Tensor& output) {
  Chunk& chunk = *chunks_[static_cast<size_t>(action.chunk)];
  if (trace_) trace_->set_place(action.micro_batch, action.chunk);
  switch (action.kind) {
    case ActionKind::forward: return forward(chunk, action, input, output);
    case ActionKind::backward_weight: return backward_weight(chunk, action);
    default: return backward(chunk, action, input, output);
  }
}

// Scatter/gather (Narayanan et al. 2021, section 4.1): between stages each tensor-parallel rank carries its
// part of the rows, which within a stage all of them have.
void Engine::take_message(const Tensor& message, const Tensor& rows) const {
  if (plan_.splits_message) {
    tensor_.group->all_gather(message, rows);
  } else {
    convert(context_, message, rows);
  }
}

void Engine::give_message(const Tensor& rows, const Tensor& message) const {
  if (rows.raw() == message.raw()) return;
  const int64_t part = message.dim(0);
  convert(context_, plan_.splits_message ? rows.narrow(0, part * tensor_.rank(), part) : rows, message);
}

void Engine::forward(Chunk& chunk, const Action& action, const Tensor& input, const Tensor& output) {
  const TokenBatch& batch = batch_of(action);
  StashPlace& place = chunk.stashes[static_cast<size_t>(take(chunk.free_stashes, chunk.stash_of, action.micro_batch))];
  lay_out(place, static_cast<int64_t>(batch.tokens.size()), step_.training, *activations_);
  StageStash& stash = place.stash;
  StageWorkspace& workspace = workspace_for(chunk, batch);
  const Tensor received = stash.inputs[0];  // only the last stage may be without layers, and it has the head
  if (input.defined()) take_message(input, received);
  const Tensor produced = output.defined() && plan_.splits_message ? output_.narrow(0, 0, residual_rows(batch)) : output;
  const MicroBatch micro = stage(batch);
  const StageLoss loss = chunk.model->forward(context_, micro, received, produced, static_cast<float>(scaler_.scale()),
                                              step_.training, stash, workspace);
  if (step_.take && chunk.model->part().has_head) (*step_.take)(static_cast<size_t>(action.micro_batch), HostCopy(workspace.task.logits).view());
  const bool may_overflow = step_.training && scaler_.active();  // then the step is skipped
  if (!may_overflow && !std::isfinite(loss.total())) fail_not_finite(chunk, stash, loss.total());
  step_.loss.tokens += loss.tokens;
  step_.loss.order += loss.order;
  if (output.defined()) {
    // A stage behind would only see that what it got is not finite: say it where it began.
    if (step_.training && !may_overflow && !std::isfinite(sum_of_squares(context_, produced)))
      fail_not_finite(chunk, stash, std::numeric_limits<double>::quiet_NaN());
    give_message(produced, output);
  }
  if (!step_.training) give_back(chunk.free_stashes, chunk.stash_of, action.micro_batch);
}

void Engine::backward(Chunk& chunk, const Action& action, const Tensor& input, const Tensor& output) {
  const TokenBatch& batch = batch_of(action);
  StageStash& stash = chunk.stashes[static_cast<size_t>(chunk.stash_of[static_cast<size_t>(action.micro_batch)])].stash;
  const bool splits = action.kind == ActionKind::backward_input && plan_.split_backward;
  StageDeferred* deferred = nullptr;
  if (splits) {
    DeferredPlace& place = chunk.deferred[static_cast<size_t>(take(chunk.free_deferred, chunk.deferred_of, action.micro_batch))];
    lay_out(place, static_cast<int64_t>(batch.tokens.size()), *activations_);
    deferred = &place.deferred;
  }
  const Tensor gradient = chunk.model->part().has_head ? stash.gradient : gradient_.narrow(0, 0, residual_rows(batch));
  if (input.defined()) take_message(input, gradient);
  const MicroBatch micro = stage(batch);
  chunk.model->backward(context_, micro, gradient, stash, workspace_for(chunk, batch), deferred);
  if (output.defined()) give_message(gradient, output);
  if (!splits) give_back(chunk.free_stashes, chunk.stash_of, action.micro_batch);
}

void Engine::backward_weight(Chunk& chunk, const Action& action) {
  if (!plan_.split_backward) return;
  const auto micro_batch = static_cast<size_t>(action.micro_batch);
  chunk.model->backward_weight(context_, chunk.stashes[static_cast<size_t>(chunk.stash_of[micro_batch])].stash,
                               workspace_for(chunk, batch_of(action)),
                               chunk.deferred[static_cast<size_t>(chunk.deferred_of[micro_batch])].deferred);
  give_back(chunk.free_stashes, chunk.stash_of, action.micro_batch);
  give_back(chunk.free_deferred, chunk.deferred_of, action.micro_batch);
}

std::string Engine::remedy() const {
  if (config_.head.is_task()) return "Lower train.learning_rate or train.head_learning_rate, or tune in another train.precision";
  return "Lower optimizer.learning_rate, or resume from the last checkpoint with another train.seed";
}

void Engine::fail_not_finite(const Chunk& chunk, const StageStash& stash, double loss) const {
  const ModelPart& part = chunk.model->part();
  std::string where = part.has_head ? "the head" : fmt::format("layer {}", part.first_layer + part.num_layers - 1);
  for (size_t i = 0; i < stash.inputs.size(); ++i) {
    if (std::isfinite(sum_of_squares(context_, stash.inputs[i]))) continue;
    where = i == 0 && part.has_embedding ? "the embedding" : fmt::format("layer {}", part.first_layer + static_cast<int64_t>(i) - 1);
    break;
  }
  fail("step {}: the loss is {}; the first NaN or infinity is in the output of {}. {}", step_.number, loss, where, remedy());
}

}  // namespace triax
