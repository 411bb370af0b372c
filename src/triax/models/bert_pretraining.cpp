#include "triax/models/bert_pretraining.h"

#include <algorithm>
#include <cmath>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/kernels/layernorm.h"

namespace triax {
namespace {

// Room for as many masked tokens.
BertHeadWorkspace first_masked(const BertHeadWorkspace& w, int64_t count) {
  BertHeadWorkspace first = w;
  for (Tensor* x : {&first.rows, &first.targets, &first.weights, &first.gathered, &first.transform_pre, &first.transformed,
                    &first.normed, &first.mean, &first.rstd})
    *x = x->narrow(0, 0, count);
  return first;
}

}  // namespace

BertPretraining::BertPretraining(const StageShape& shape, bool with_gradients, Sharding sharding)
    : StageModel(shape, with_gradients, sharding) {
  check(shape.config.is_bert(), "model.kind = \"gpt\" is not a BERT");
}

StageLoss BertPretraining::head_forward(const Context& context, const MicroBatch& batch, float loss_scale, bool with_gradient,
                                        StageStash& stash, StageWorkspace& workspace) const {
  Tensor hidden = stash.inputs.back();  // of all tokens, from here on
  if (!shape_.config.post_norm) {
    final_norm_forward(context, stash, workspace);
    hidden = workspace.final_norm;
  } else if (shape_.parallel.splits_tokens()) {
    shape_.parallel.gather(hidden, workspace.final_norm);
    hidden = workspace.final_norm;
  }
  if (with_gradient) fill(context, stash.gradient, 0);
  StageLoss loss;
  loss.tokens = masked_loss(context, batch, hidden, loss_scale, with_gradient, stash, workspace);
  loss.order = order_loss(context, batch, hidden, loss_scale, with_gradient, stash, workspace);
  if (with_gradient && !shape_.config.post_norm) final_norm_backward(context, stash.gradient, stash);
  return loss;
}

// values [m, h] become the given rows' gradient, on the rank that has them: no row is given twice.
void BertPretraining::add_rows(const Context& context, const Tensor& rows, const Tensor& values, int64_t n,
                               const Tensor& gradient) const {
  const int64_t first = shape_.parallel.first_row(n), count = gradient.dim(0);
  for (int64_t i = 0; i < rows.numel(); ++i) {
    const int64_t row = rows.data<int32_t>()[i] - first;
    if (row >= 0 && row < count) convert(context, values.narrow(0, i, 1), gradient.narrow(0, row, 1));
  }
}

double BertPretraining::masked_loss(const Context& context, const MicroBatch& batch, const Tensor& hidden, float loss_scale,
                                    bool with_gradient, StageStash& stash, StageWorkspace& workspace) const {
  const BertHeadWorkspace& w = workspace.bert;
  const auto weights = batch.weights.span<float>();
  const int32_t* targets = batch.targets.data<int32_t>();
  need(layout_.masked_unit);
  need(layout_.token_unit);
  if (with_gradient) need_gradients(layout_.masked_unit), need_gradients(layout_.token_unit);
  double loss = 0;
  for (size_t row = 0; row < weights.size();) {
    int64_t count = 0;
    for (; row < weights.size() && count < w.rows.numel(); ++row) {
      if (weights[row] == 0) continue;
      w.rows.data<int32_t>()[count] = static_cast<int32_t>(row);
      w.targets.data<int32_t>()[count] = targets[row];
      w.weights.data<float>()[count++] = weights[row];
    }
    if (count == 0) break;
    loss += masked_chunk(context, hidden, loss_scale, first_masked(w, count), workspace.head, with_gradient ? stash.gradient : Tensor{});
  }
  if (with_gradient) added_gradients(layout_.masked_unit), added_gradients(layout_.token_unit);
  return loss;
}

double BertPretraining::masked_chunk(const Context& context, const Tensor& hidden, float loss_scale, const BertHeadWorkspace& w,
                                     LmHeadWorkspace& logits, const Tensor& gradient) const {
  const Activation activation = shape_.config.activation;
  embedding_forward(context, w.rows, hidden, 0, w.gathered);
  linear_activation_forward(context, w.gathered, weight(layout_.transform_weight), weight(layout_.transform_bias), activation,
                            w.transform_pre, w.transformed);
  layernorm_forward(context, w.transformed, weight(layout_.masked_norm_weight), weight(layout_.masked_norm_bias), epsilon(),
                    w.normed, w.mean, w.rstd);
  const bool backward = gradient.defined();
  LmHead::Gradients gradients{w.normed, {}, {}};
  if (backward) gradients.dtable = gradient_of(layout_.token_table), gradients.dbias = gradient_of(layout_.decoder_bias);
  const double loss = head_.loss(context, w.normed, weight(layout_.token_table), w.targets, w.weights, loss_scale, logits,
                                 backward ? &gradients : nullptr, {}, weight(layout_.decoder_bias));
  if (!backward) return loss;
  const Tensor d = w.normed;  // holds its own gradient now: of this rank's vocabulary, and after the sum of all
  if (shape_.parallel.size() > 1) shape_.parallel.group->all_reduce(d);
  layernorm_backward(context, d, w.transformed, weight(layout_.masked_norm_weight), w.mean, w.rstd, d, false,
                     gradient_of(layout_.masked_norm_weight), gradient_of(layout_.masked_norm_bias));
  activation_backward(context, activation, w.transform_pre, d, d);
  linear_backward_weight(context, d, w.gathered, gradient_of(layout_.transform_weight), gradient_of(layout_.transform_bias));
  linear_backward_input(context, d, weight(layout_.transform_weight), w.transformed);
  add_rows(context, w.rows, w.transformed, hidden.dim(0), gradient);
  return loss;
}

double BertPretraining::order_loss(const Context& context, const MicroBatch& batch, const Tensor& hidden, float loss_scale,
                                   bool with_gradient, StageStash& stash, StageWorkspace& workspace) const {
  const auto b = static_cast<int64_t>(batch.layout.spans.size());
  const BertHeadWorkspace& w = workspace.bert;
  check(b <= w.first.dim(0) && batch.order.numel() == b, "a micro-batch of {} texts has {} orders, and room for {}", b,
        batch.order.numel(), w.first.dim(0));
  const Tensor rows = w.first_rows.narrow(0, 0, b), first = w.first.narrow(0, 0, b), pooled = w.pooled.narrow(0, 0, b);
  const Tensor tanh = w.pooled_f32.narrow(0, 0, b);
  for (int64_t i = 0; i < b; ++i) rows.data<int32_t>()[i] = static_cast<int32_t>(batch.layout.spans[static_cast<size_t>(i)].start);
  need(layout_.order_unit);
  embedding_forward(context, rows, hidden, 0, first);
  linear_forward(context, first, weight(layout_.pooler_weight), weight(layout_.pooler_bias), pooled);
  convert(context, pooled, tanh);
  for (float& x : tanh.span<float>()) x = std::tanh(x);
  convert(context, tanh, pooled);
  LmHead::Gradients gradients{pooled, {}, {}};
  if (with_gradient) {
    need_gradients(layout_.order_unit);
    gradients.dtable = gradient_of(layout_.order_weight), gradients.dbias = gradient_of(layout_.order_bias);
  }
  const double loss = order_head(hidden.dim(1)).loss(context, pooled, weight(layout_.order_weight), batch.order, batch.order_weights,
                                                     loss_scale, workspace.bert.order, with_gradient ? &gradients : nullptr, {},
                                                     weight(layout_.order_bias));
  if (!with_gradient) return loss;
  const Tensor dpooled = w.dpooled.narrow(0, 0, b);
  convert(context, pooled, dpooled);  // pooled holds its own gradient by now
  for (int64_t i = 0; i < dpooled.numel(); ++i) dpooled.data<float>()[i] *= 1 - tanh.data<float>()[i] * tanh.data<float>()[i];
  convert(context, dpooled, pooled);
  linear_backward_weight(context, pooled, first, gradient_of(layout_.pooler_weight), gradient_of(layout_.pooler_bias));
  linear_backward_input(context, pooled, weight(layout_.pooler_weight), first);
  add_rows(context, rows, first, hidden.dim(0), stash.gradient);
  added_gradients(layout_.order_unit);
  return loss;
}

}  // namespace triax
