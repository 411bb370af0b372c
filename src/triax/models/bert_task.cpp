// The heads of a BERT for tasks: from the encoder's output to logits, losses and back. Logits and losses are f32.
#include <algorithm>
#include <cmath>

#include "triax/base/error.h"
#include "triax/kernels/cross_entropy.h"
#include "triax/kernels/elementwise.h"
#include "triax/models/bert.h"
#include "triax/models/bert_sites.h"

namespace triax {
namespace {

// Sum of weight * cross-entropy over rows of logits [m, c]; with_gradient: logits become its gradient.
double cross_entropy(const Context& context, const Tensor& logits, const BertTargets& targets, const TaskHeadWorkspace& w, bool with_gradient) {
  const int64_t m = logits.dim(0), classes = logits.dim(1);
  check(static_cast<int64_t>(targets.labels.size()) == m && targets.weights.size() == targets.labels.size(),
        "{} rows of logits have {} labels and {} weights", m, targets.labels.size(), targets.weights.size());
  const Tensor labels = w.labels.narrow(0, 0, m), lse = w.lse.narrow(0, 0, m), sum = w.sum.narrow(0, 0, m);
  const Tensor target = w.target.narrow(0, 0, m), weights = w.weights.narrow(0, 0, m);
  // A row that does not count may have any label.
  std::ranges::transform(targets.labels, labels.data<int32_t>(), [](int32_t label) { return std::max(label, 0); });
  std::ranges::copy(targets.weights, weights.data<float>());
  softmax_statistics(context, logits, labels, 0, classes, lse, sum, target);
  double loss = 0;
  for (size_t i = 0; i < targets.labels.size(); ++i) {
    lse.data<float>()[i] += std::log(sum.data<float>()[i]);
    if (targets.weights[i] != 0) loss += static_cast<double>(targets.weights[i]) * (lse.data<float>()[i] - target.data<float>()[i]);
  }
  if (with_gradient) cross_entropy_backward(context, logits, labels, 0, classes, lse, weights);
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
  float* x = logits.data<float>() + span.start * 2 + column;
  float max = x[0];
  for (int64_t i = 1; i < span.length; ++i) max = std::max(max, x[2 * i]);
  double sum = 0;
  for (int64_t i = 0; i < span.length; ++i) sum += std::exp(static_cast<double>(x[2 * i] - max));
  const int64_t at = target - span.start;
  check(at >= 0 && at < span.length, "the answer's token {} is outside of its sequence [{}, {})", target, span.start, span.start + span.length);
  const double lse = max + std::log(sum), half = 0.5 * static_cast<double>(weight);
  const double loss = half * (lse - static_cast<double>(x[2 * at]));
  if (with_gradient)
    for (int64_t i = 0; i < span.length; ++i)
      x[2 * i] = static_cast<float>(half * (std::exp(static_cast<double>(x[2 * i]) - lse) - (i == at ? 1.0 : 0.0)));
  return loss;
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

// x [m, c] += bias [c]; c is the number of classes.
void add_bias(const Tensor& x, const Tensor& bias) {
  const auto values = bias.span<float>();
  for (float* row = x.data<float>(), *end = row + x.numel(); row < end; row += values.size())
    for (size_t i = 0; i < values.size(); ++i) row[i] += values[i];
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
  add_bias(w.logits, weight(layout_.classifier_bias));
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

double Bert::classifier_loss(const Context& context, const MicroBatch& batch, const TaskHeadWorkspace& w, bool with_gradient) const {
  const BertTargets& targets = *batch.task;
  if (shape_.head.head == BertHead::spans) return span_loss(batch.layout, w.logits, targets, with_gradient);
  if (shape_.head.head == BertHead::choice) {
    check(targets.choices > 0 && w.logits.dim(0) % targets.choices == 0, "{} sequences are no groups of {} choices", w.logits.dim(0), targets.choices);
    return cross_entropy(context, w.logits.reshape({-1, targets.choices}), targets, w, with_gradient);
  }
  if (shape_.head.head == BertHead::sequence && shape_.head.num_labels == 1) return squared_error(w.logits, targets, with_gradient);
  return cross_entropy(context, w.logits, targets, w, with_gradient);
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
  const double loss = classifier_loss(context, batch, w, with_gradient);
  if (!with_gradient) return loss;
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
