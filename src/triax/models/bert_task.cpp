// The heads of a BERT for tasks: from the encoder's output to logits, losses and back. Logits are f32.
#include <algorithm>
#include <cmath>

#include "triax/base/error.h"
#include "triax/kernels/elementwise.h"
#include "triax/models/bert.h"
#include "triax/models/bert_sites.h"
#include "triax/tensor/device.h"

namespace triax {
namespace {

// weight * cross-entropy of `count` logits, `stride` apart; with_gradient: they become its gradient.
double softmax_loss(float* x, int64_t count, int64_t stride, int64_t target, double weight, bool with_gradient) {
  float max = x[0];
  for (int64_t i = 1; i < count; ++i) max = std::max(max, x[stride * i]);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(x[stride * i] - max));
  const double lse = max + std::log(sum), loss = weight * (lse - static_cast<double>(x[stride * target]));
  if (with_gradient)
    for (int64_t i = 0; i < count; ++i)
      x[stride * i] = static_cast<float>(weight * (std::exp(static_cast<double>(x[stride * i]) - lse) - (i == target ? 1.0 : 0.0)));
  return loss;
}

// Of every row of logits [m, c].
double cross_entropy(const Tensor& logits, const BertTargets& targets, bool with_gradient) {
  const int64_t m = logits.dim(0), classes = logits.dim(1);
  check(static_cast<int64_t>(targets.labels.size()) == m && targets.weights.size() == targets.labels.size(),
        "{} rows of logits have {} labels and {} weights", m, targets.labels.size(), targets.weights.size());
  double loss = 0;
  float* row = logits.data<float>();
  for (size_t i = 0; i < targets.labels.size(); ++i, row += classes) {
    const float weight = targets.weights[i];
    if (weight != 0) loss += softmax_loss(row, classes, 1, targets.labels[i], static_cast<double>(weight), with_gradient);
    else if (with_gradient) std::fill_n(row, classes, 0.0f);  // a row that does not count may have any label
  }
  return loss;
}

// Squared error of numbers: logits [b, 1].
double squared_error(const Tensor& logits, const BertTargets& targets, bool with_gradient) {
  double loss = 0;
  const auto x = logits.span<float>();
  check(targets.values.size() == x.size() && targets.weights.size() == x.size(), "{} predictions have {} values", x.size(), targets.values.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const float error = x[i] - targets.values[i];
    loss += static_cast<double>(targets.weights[i]) * error * error;
    if (with_gradient) x[i] = 2 * targets.weights[i] * error;
  }
  return loss;
}

// Cross-entropy of one column of logits [n, 2] over the tokens of one span; half of it counts.
double span_column_loss(const Tensor& logits, const Span& span, int64_t column, int32_t target, float weight, bool with_gradient) {
  const int64_t at = target - span.start;
  check(at >= 0 && at < span.length, "the answer's token {} is outside of its sequence [{}, {})", target, span.start, span.start + span.length);
  return softmax_loss(logits.data<float>() + span.start * 2 + column, span.length, 2, at, 0.5 * static_cast<double>(weight), with_gradient);
}

double span_loss(const TokenLayout& layout, const Tensor& logits, const BertTargets& targets, bool with_gradient) {
  const auto spans = layout.spans;
  check(targets.starts.size() == spans.size() && targets.ends.size() == spans.size() && targets.weights.size() == spans.size(),
        "{} sequences have {} answers", spans.size(), targets.starts.size());
  double loss = 0;
  const int64_t end = spans.empty() ? 0 : spans.back().start + spans.back().length;
  if (with_gradient) std::fill(logits.data<float>() + 2 * end, logits.data<float>() + logits.numel(), 0.0f);  // what is behind is padding
  for (size_t i = 0; i < spans.size(); ++i) {
    loss += span_column_loss(logits, spans[i], 0, targets.starts[i], targets.weights[i], with_gradient);
    loss += span_column_loss(logits, spans[i], 1, targets.ends[i], targets.weights[i], with_gradient);
  }
  return loss;
}

}  // namespace

// Of all rows together, or of each: a pooled row's mask is that of its token, however batches are cut.
std::vector<Dropout> Bert::head_dropout(const MicroBatch& batch, uint32_t site) const {
  const Dropout all{.probability = batch.layout.training ? static_cast<float>(shape_.head.dropout) : 0.0f,
                    .seed = batch.layout.seed,
                    .site = site,
                    .step = batch.layout.step,
                    .row_offset = batch.layout.first_token};
  if (!shape_.head.has_pooler() || !all.active()) return {all};
  std::vector<Dropout> masks;
  for (const Span& span : batch.layout.spans) {
    masks.push_back(all);
    masks.back().row_offset += span.start;
  }
  return masks;
}

void Bert::classify(const Context& context, const MicroBatch& batch, const Tensor& x, const TaskHeadWorkspace& w) const {
  const auto drop = [&](uint32_t site, const Tensor& from, const Tensor& to) {
    const auto masks = head_dropout(batch, site);
    const int64_t rows = to.dim(0) / static_cast<int64_t>(masks.size());
    for (int64_t i = 0; i < static_cast<int64_t>(masks.size()); ++i)
      bias_dropout_residual_forward(context, from.narrow(0, i * rows, rows), {}, {}, masks[static_cast<size_t>(i)], to.narrow(0, i * rows, rows));
  };
  drop(bert::kHeadSite, x, w.input);
  Tensor last = w.input;
  if (shape_.head.hidden_size > 0) {
    last = w.hidden;
    linear_activation_forward(context, w.input, weight(layout_.classifier_hidden_weight), weight(layout_.classifier_hidden_bias),
                              Activation::gelu_erf, w.hidden_pre, last);
    drop(bert::kHeadHiddenSite, last, last);
  }
  gemm(context, false, true, last, weight(layout_.classifier_weight), 0.0f, w.logits);
  bias_dropout_residual_forward(context, w.logits, weight(layout_.classifier_bias), {}, {}, w.logits);
}

// From the gradient in w.logits to that of the classifier's input, in w.dinput.
void Bert::classify_backward(const Context& context, const MicroBatch& batch, const TaskHeadWorkspace& w) const {
  const auto undrop = [&](uint32_t site, const Tensor& dx) {
    const auto masks = head_dropout(batch, site);
    const int64_t rows = dx.dim(0) / static_cast<int64_t>(masks.size());
    for (int64_t i = 0; masks[0].active() && i < static_cast<int64_t>(masks.size()); ++i) {
      const Tensor part = dx.narrow(0, i * rows, rows);
      bias_dropout_residual_backward(context, part, masks[static_cast<size_t>(i)], part, {});
    }
  };
  const bool two = shape_.head.hidden_size > 0;
  convert(context, w.logits, w.dlogits);
  linear_backward_weight(context, w.dlogits, two ? w.hidden : w.input, gradient_of(layout_.classifier_weight), gradient_of(layout_.classifier_bias));
  linear_backward_input(context, w.dlogits, weight(layout_.classifier_weight), two ? w.dhidden : w.dinput);
  if (two) {
    undrop(bert::kHeadHiddenSite, w.dhidden);
    activation_backward(context, Activation::gelu_erf, w.hidden_pre, w.dhidden, w.dhidden);
    linear_backward_weight(context, w.dhidden, w.input, gradient_of(layout_.classifier_hidden_weight), gradient_of(layout_.classifier_hidden_bias));
    linear_backward_input(context, w.dhidden, weight(layout_.classifier_hidden_weight), w.dinput);
  }
  undrop(bert::kHeadSite, w.dinput);
}

// Logits in the host's memory, which become the gradient.
double Bert::classifier_loss(const MicroBatch& batch, const Tensor& logits, bool with_gradient) const {
  const BertTargets& targets = *batch.task;
  if (shape_.head.head == BertHead::spans) return span_loss(batch.layout, logits, targets, with_gradient);
  if (shape_.head.head == BertHead::choice) {
    check(targets.choices > 0 && logits.dim(0) % targets.choices == 0, "{} sequences are no groups of {} choices", logits.dim(0), targets.choices);
    return cross_entropy(logits.reshape({-1, targets.choices}), targets, with_gradient);
  }
  if (shape_.head.head == BertHead::sequence && shape_.head.num_labels == 1) return squared_error(logits, targets, with_gradient);
  return cross_entropy(logits, targets, with_gradient);
}

double Bert::task_loss(const Context& context, const MicroBatch& batch, const Tensor& hidden, float loss_scale, bool with_gradient,
                       StageStash& stash, StageWorkspace& workspace) const {
  const TaskHeadWorkspace& w = workspace.task;
  const bool pooled = shape_.head.has_pooler();
  const int64_t n = hidden.dim(0);
  if (pooled) {
    need(layout_.pooler_unit);
    pool(context, batch, hidden, w.first_rows, w.first, w.pooled, w.pooled_f32);
  }
  need(layout_.classifier_unit);
  classify(context, batch, pooled ? w.pooled : hidden, w);
  if (!batch.task) return 0;
  const HostCopy logits(w.logits);  // few numbers
  const double loss = classifier_loss(batch, logits.view(), with_gradient);
  if (!with_gradient) return loss;
  copy_between_devices(logits.view(), w.logits);
  if (loss_scale != 1) scale(context, loss_scale, w.logits);
  need_gradients(layout_.classifier_unit);
  classify_backward(context, batch, w);
  added_gradients(layout_.classifier_unit);
  if (!pooled) {
    add_scaled(context, 1.0f, w.dinput.narrow(0, shape_.parallel.first_row(n), stash.gradient.dim(0)), stash.gradient);
    return loss;
  }
  need_gradients(layout_.pooler_unit);
  pool_backward(context, w.dinput, w.first_rows, w.first, w.pooled_f32, w.dpooled, n, stash.gradient);
  added_gradients(layout_.pooler_unit);
  return loss;
}

}  // namespace triax
