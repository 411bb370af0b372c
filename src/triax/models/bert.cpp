#include "triax/models/bert.h"

#include <algorithm>
#include <cmath>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

StageShape whole_bert(const ModelConfig& config, const BertHeadConfig& head, Recompute recompute, DType compute_type) {
  StageShape shape{.config = config, .part = {.first_layer = 0, .num_layers = config.num_layers}, .parallel = {},
                   .recompute = recompute, .compute_type = compute_type, .head = head};
  shape.config.vocab_multiple = 1;
  return shape;
}

Tensor read_only(std::span<const int32_t> values) {
  return {const_cast<int32_t*>(values.data()), {static_cast<int64_t>(values.size())}, DType::i32};
}

}  // namespace

Bert::Bert(const StageShape& shape, bool with_gradients, Sharding sharding) : StageModel(shape, with_gradients, sharding) {
  check(shape.config.is_bert(), "model.kind = \"gpt\" is not a BERT");
}

Bert::Bert(const ModelConfig& config, const BertHeadConfig& head, Recompute recompute, bool with_gradients, DType compute_type)
    : Bert(whole_bert(config, head, recompute, compute_type), with_gradients) {}

// ---- a part

// Of all tokens.
Tensor Bert::last_hidden(const Context& context, const StageStash& stash, StageWorkspace& workspace) const {
  if (!shape_.config.post_norm) {
    final_norm_forward(context, stash, workspace);
    return workspace.final_norm;
  }
  if (!shape_.parallel.splits_tokens()) return stash.inputs.back();
  shape_.parallel.gather(stash.inputs.back(), workspace.final_norm);
  return workspace.final_norm;
}

StageLoss Bert::head_forward(const Context& context, const MicroBatch& batch, float loss_scale, bool with_gradient,
                             StageStash& stash, StageWorkspace& workspace) const {
  const Tensor hidden = last_hidden(context, stash, workspace);
  if (shape_.head.head == BertHead::none) return {};
  if (with_gradient) fill(context, stash.gradient, 0);
  StageLoss loss;
  if (shape_.is_encoder()) {
    loss.tokens = task_loss(context, batch, hidden, loss_scale, with_gradient, stash, workspace);
  } else {
    loss.tokens = masked_loss(context, batch, hidden, loss_scale, with_gradient, stash, workspace);
    loss.order = order_loss(context, batch, hidden, loss_scale, with_gradient, stash, workspace);
  }
  if (with_gradient && !shape_.config.post_norm) final_norm_backward(context, stash.gradient, stash);
  return loss;
}

// values [m, h] become the given rows' gradient, on the rank that has them: no row is given twice.
void Bert::add_rows(const Context& context, const Tensor& rows, const Tensor& values, int64_t n, const Tensor& gradient) const {
  scatter_rows(context, values, rows, shape_.parallel.first_row(n), true, gradient);
}

void Bert::pool(const Context& context, const MicroBatch& batch, const Tensor& hidden, const Tensor& rows, const Tensor& first,
                const Tensor& pooled, const Tensor& tanh) const {
  std::vector<int32_t> starts;
  for (const Span& span : batch.layout.spans.first(static_cast<size_t>(rows.numel()))) starts.push_back(static_cast<int32_t>(span.start));
  copy_between_devices(read_only(starts), rows);
  embedding_forward(context, rows, hidden, 0, first);
  linear_forward(context, first, weight(layout_.pooler_weight), weight(layout_.pooler_bias), pooled);
  convert(context, pooled, tanh);
  tanh_forward(context, tanh, tanh);
  convert(context, tanh, pooled);
}

void Bert::pool_backward(const Context& context, const Tensor& pooled, const Tensor& rows, const Tensor& first, const Tensor& tanh,
                         const Tensor& scratch, int64_t n, const Tensor& gradient) const {
  convert(context, pooled, scratch);
  tanh_backward(context, tanh, scratch, scratch);
  convert(context, scratch, pooled);
  linear_backward_weight(context, pooled, first, gradient_of(layout_.pooler_weight), gradient_of(layout_.pooler_bias));
  linear_backward_input(context, pooled, weight(layout_.pooler_weight), first);
  add_rows(context, rows, first, n, gradient);
}

// ---- a whole model

struct Bert::Batch {
  MicroBatch micro;
  StageStash stash;
  StageWorkspace workspace;
};

// Masked rows and orders become targets of every token and sequence.
Bert::Batch Bert::stage(const BertInput& input, const BertTargets* targets, bool with_backward, Arena& arena) const {
  check(input.layout.max_length <= config().max_positions, "a sequence of {} tokens is longer than the model's {} positions",
        input.layout.max_length, config().max_positions);
  const int64_t n = input.tokens.numel(), b = static_cast<int64_t>(input.layout.spans.size());
  StageShape shape = shape_;
  shape.sequences = b;
  arena.release(0);
  Batch batch;
  batch.stash = allocate_stash(shape, n, arena, with_backward);
  batch.workspace = allocate_workspace(shape, n, with_backward, arena);
  MicroBatch& micro = batch.micro;
  micro = {.tokens = input.tokens, .positions = input.positions, .targets = {}, .types = input.types, .weights = {}, .order = {}, .order_weights = {},
           .layout = input.layout, .task = targets};
  if (shape_.is_encoder()) return batch;
  micro.targets = arena.allocate({n}, DType::i32), micro.weights = arena.allocate({n}, DType::f32);
  micro.order = arena.allocate({b}, DType::i32), micro.order_weights = arena.allocate({b}, DType::f32);
  if (arena.measuring()) return batch;
  std::ranges::fill(micro.weights.span<float>(), 0.0f);
  std::ranges::fill(micro.order.span<int32_t>(), 0);
  const bool ordered = targets && !targets->order.empty();
  std::ranges::fill(micro.order_weights.span<float>(), ordered ? 1.0f / static_cast<float>(b) : 0.0f);
  if (ordered) std::ranges::copy(targets->order, micro.order.data<int32_t>());
  for (size_t i = 0; targets && i < targets->masked.size(); ++i) {
    const auto row = targets->masked[i];
    micro.targets.data<int32_t>()[row] = targets->labels[i];
    micro.weights.data<float>()[row] = targets->weights[i];
  }
  return batch;
}

double Bert::run(const Context& context, const BertInput& input, const BertTargets& targets, bool with_gradient, Arena& arena) const {
  check(shape_.head.head != BertHead::none, "an encoder without a head has no loss");
  Batch batch = stage(input, &targets, with_gradient, arena);
  const double loss = forward(context, batch.micro, {}, {}, 1.0f, with_gradient, batch.stash, batch.workspace).total();
  if (with_gradient) backward(context, batch.micro, batch.stash.gradient, batch.stash, batch.workspace);
  return loss;
}

double Bert::train(const Context& context, const BertInput& input, const BertTargets& targets, Arena& arena) const {
  return run(context, input, targets, true, arena);
}

double Bert::loss(const Context& context, const BertInput& input, const BertTargets& targets, Arena& arena) const {
  return run(context, input, targets, false, arena);
}

Tensor Bert::predict(const Context& context, const BertInput& input, Arena& arena, std::span<const int32_t> masked) const {
  Batch batch = stage(input, nullptr, false, arena);
  forward(context, batch.micro, {}, {}, 1.0f, false, batch.stash, batch.workspace);
  if (shape_.head.is_task()) return batch.workspace.task.logits;
  const Tensor hidden = shape_.config.post_norm ? batch.stash.inputs.back() : batch.workspace.final_norm;
  return shape_.head.head == BertHead::none ? hidden : masked_logits(context, hidden, masked, arena);
}

Tensor Bert::masked_logits(const Context& context, const Tensor& hidden, std::span<const int32_t> masked, Arena& arena) const {
  const int64_t m = static_cast<int64_t>(masked.size()), h = config().hidden_size;
  BertHeadWorkspace w;
  w.rows = read_only(masked);
  for (Tensor* x : {&w.gathered, &w.transform_pre, &w.transformed, &w.normed}) *x = arena.allocate({m, h}, shape_.compute_type);
  for (Tensor* x : {&w.mean, &w.rstd}) *x = arena.allocate({m}, DType::f32);
  const Tensor logits = arena.allocate({m, config().vocab_size}, shape_.compute_type);
  transform_masked(context, hidden, w);
  linear_forward(context, w.normed, weight(layout_.token_table), weight(layout_.decoder_bias), logits);
  return logits;
}

Tensor Bert::predict_order(const Context& context, const BertInput& input, Arena& arena) const {
  check(shape_.head.head == BertHead::pretraining, "only a model with its pretraining heads tells the order of texts");
  Batch batch = stage(input, nullptr, false, arena);
  forward(context, batch.micro, {}, {}, 1.0f, false, batch.stash, batch.workspace);
  return batch.workspace.bert.order.logits;
}

size_t Bert::memory_bytes(int64_t n, int64_t b, int64_t m, bool with_backward) const {
  Arena measure;
  BertInput input;
  const std::vector<Span> spans(static_cast<size_t>(b));
  input.tokens = Tensor(nullptr, {n}, DType::i32);
  input.layout.spans = spans;
  stage(input, nullptr, with_backward, measure);
  if (!shape_.is_encoder()) {  // masked_logits
    for (int i = 0; i < 4; ++i) measure.allocate({m, config().hidden_size}, DType::f32);
    for (int i = 0; i < 2; ++i) measure.allocate({m}, DType::f32);
    measure.allocate({m, config().vocab_size}, DType::f32);
  }
  return measure.peak();
}

}  // namespace triax
