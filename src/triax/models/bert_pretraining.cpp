// What a BERT is pretrained by: masked tokens, and the order of two texts.
#include <algorithm>
#include <cmath>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/kernels/layernorm.h"
#include "triax/models/bert.h"
#include "triax/tensor/device.h"

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

double Bert::masked_loss(const Context& context, const MicroBatch& batch, const Tensor& hidden, float loss_scale,
                         bool with_gradient, StageStash& stash, StageWorkspace& workspace) const {
  const BertHeadWorkspace& w = workspace.bert;
  const auto weights = batch.weights.span<float>();
  const int32_t* targets = batch.targets.data<int32_t>();
  need(layout_.masked_unit);
  need(layout_.token_unit);
  if (with_gradient) need_gradients(layout_.masked_unit), need_gradients(layout_.token_unit);
  double loss = 0;
  std::vector<int32_t> rows, labels;
  std::vector<float> shares;
  for (size_t row = 0; row < weights.size();) {
    rows.clear(), labels.clear(), shares.clear();
    for (; row < weights.size() && std::ssize(rows) < w.rows.numel(); ++row) {
      if (weights[row] == 0) continue;
      rows.push_back(static_cast<int32_t>(row)), labels.push_back(targets[row]), shares.push_back(weights[row]);
    }
    if (rows.empty()) break;
    const int64_t count = std::ssize(rows);
    const BertHeadWorkspace chunk = first_masked(w, count);
    copy_between_devices({rows.data(), {count}, DType::i32}, chunk.rows);
    copy_between_devices({labels.data(), {count}, DType::i32}, chunk.targets);
    copy_between_devices({shares.data(), {count}, DType::f32}, chunk.weights);
    loss += masked_chunk(context, hidden, loss_scale, chunk, workspace.head, with_gradient ? stash.gradient : Tensor{});
  }
  if (with_gradient) added_gradients(layout_.masked_unit), added_gradients(layout_.token_unit);
  return loss;
}

// What the decoder sees of w.rows: norm(activation(dense(x))).
void Bert::transform_masked(const Context& context, const Tensor& hidden, const BertHeadWorkspace& w) const {
  embedding_forward(context, w.rows, hidden, 0, w.gathered);
  linear_activation_forward(context, w.gathered, weight(layout_.transform_weight), weight(layout_.transform_bias),
                            shape_.config.activation, w.transform_pre, w.transformed);
  layernorm_forward(context, w.transformed, weight(layout_.masked_norm_weight), weight(layout_.masked_norm_bias), epsilon(),
                    w.normed, w.mean, w.rstd);
}

double Bert::masked_chunk(const Context& context, const Tensor& hidden, float loss_scale, const BertHeadWorkspace& w,
                          LmHeadWorkspace& logits, const Tensor& gradient) const {
  transform_masked(context, hidden, w);
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
  activation_backward(context, shape_.config.activation, w.transform_pre, d, d);
  linear_backward_weight(context, d, w.gathered, gradient_of(layout_.transform_weight), gradient_of(layout_.transform_bias));
  linear_backward_input(context, d, weight(layout_.transform_weight), w.transformed);
  add_rows(context, w.rows, w.transformed, hidden.dim(0), gradient);
  return loss;
}

double Bert::order_loss(const Context& context, const MicroBatch& batch, const Tensor& hidden, float loss_scale,
                        bool with_gradient, StageStash& stash, StageWorkspace& workspace) const {
  const auto b = static_cast<int64_t>(batch.layout.spans.size());
  const BertHeadWorkspace& w = workspace.bert;
  check(b <= w.first.dim(0) && batch.order.numel() == b, "a micro-batch of {} texts has {} orders, and room for {}", b,
        batch.order.numel(), w.first.dim(0));
  const Tensor rows = w.first_rows.narrow(0, 0, b), first = w.first.narrow(0, 0, b), pooled = w.pooled.narrow(0, 0, b);
  const Tensor tanh = w.pooled_f32.narrow(0, 0, b);
  need(layout_.order_unit);
  pool(context, batch, hidden, rows, first, pooled, tanh);
  LmHead::Gradients gradients{pooled, {}, {}};
  if (with_gradient) {
    need_gradients(layout_.order_unit);
    gradients.dtable = gradient_of(layout_.order_weight), gradients.dbias = gradient_of(layout_.order_bias);
  }
  const double loss = order_head(hidden.dim(1)).loss(context, pooled, weight(layout_.order_weight), batch.order, batch.order_weights,
                                                     loss_scale, workspace.bert.order, with_gradient ? &gradients : nullptr, {},
                                                     weight(layout_.order_bias));
  if (!with_gradient) return loss;
  // pooled holds its own gradient by now
  pool_backward(context, pooled, rows, first, tanh, w.dpooled.narrow(0, 0, b), hidden.dim(0), stash.gradient);
  added_gradients(layout_.order_unit);
  return loss;
}

}  // namespace triax
