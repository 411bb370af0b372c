#include "triax/models/bert.h"

#include <algorithm>
#include <cmath>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

StageShape whole_bert(const ModelConfig& config, const BertHeadConfig& head) {
  StageShape shape{.config = config, .part = {.first_layer = 0, .num_layers = config.num_layers}, .parallel = {}, .head = head};
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

Bert::Bert(const ModelConfig& config, const BertHeadConfig& head) : Bert(whole_bert(config, head), false) {}

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

}  // namespace triax
