// The heads of a Bert: from the encoder's output to logits, losses and back.
#include <algorithm>
#include <cmath>

#include "triax/base/error.h"
#include "triax/kernels/cross_entropy.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/kernels/layernorm.h"
#include "triax/models/bert.h"
#include "triax/models/bert_sites.h"

namespace triax {
namespace {

// Rows of a batch as a table that is looked up: gathering is an embedding, its gradient the embedding's.
Tensor row_numbers(std::span<const int32_t> rows, Arena& arena) {
  const Tensor numbers = arena.allocate({static_cast<int64_t>(rows.size())}, DType::i32);
  if (!arena.measuring()) std::copy(rows.begin(), rows.end(), numbers.data<int32_t>());
  return numbers;
}

Tensor copy_of(std::span<const float> values, Arena& arena) {
  const Tensor copy = arena.allocate({static_cast<int64_t>(values.size())}, DType::f32);
  std::copy(values.begin(), values.end(), copy.data<float>());
  return copy;
}

// Sum of weight * cross-entropy over rows of logits [m, c]; with_gradient: logits become its gradient.
double cross_entropy(const Context& context, const Tensor& logits, std::span<const int32_t> labels,
                     std::span<const float> weights, bool with_gradient, Arena& arena) {
  const int64_t m = logits.dim(0), classes = logits.dim(1);
  check(static_cast<int64_t>(labels.size()) == m && weights.size() == labels.size(), "{} rows of logits have {} labels and {} weights",
        m, labels.size(), weights.size());
  const Tensor goal = arena.allocate({m}, DType::i32), max = arena.allocate({m}, DType::f32);
  const Tensor sum = arena.allocate({m}, DType::f32), target = arena.allocate({m}, DType::f32);
  // A row that does not count may have any label.
  for (int64_t i = 0; i < m; ++i) goal.data<int32_t>()[i] = std::max(labels[static_cast<size_t>(i)], 0);
  softmax_statistics(context, logits, goal, 0, classes, max, sum, target);
  double loss = 0;
  const auto lse = max.span<float>();
  for (size_t i = 0; i < lse.size(); ++i) {
    lse[i] += std::log(sum.data<float>()[i]);
    if (weights[i] != 0) loss += static_cast<double>(weights[i]) * (lse[i] - target.data<float>()[i]);
  }
  if (with_gradient) cross_entropy_backward(context, logits, goal, 0, classes, max, copy_of(weights, arena));
  return loss;
}

// Squared error of numbers: logits [b, 1].
double squared_error(const Tensor& logits, std::span<const float> values, std::span<const float> weights, bool with_gradient) {
  double loss = 0;
  const auto x = logits.span<float>();
  check(values.size() == x.size() && weights.size() == x.size(), "{} predictions have {} values", x.size(), values.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const float error = x[i] - values[i];
    loss += static_cast<double>(weights[i]) * error * error;
    if (with_gradient) x[i] = 2 * weights[i] * error;
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

double span_loss(const BertInput& input, const Tensor& logits, const BertTargets& targets, bool with_gradient) {
  const auto spans = input.layout.spans;
  check(targets.starts.size() == spans.size() && targets.ends.size() == spans.size() && targets.weights.size() == spans.size(),
        "{} sequences have {} answers", spans.size(), targets.starts.size());
  double loss = 0;
  for (size_t i = 0; i < spans.size(); ++i) {
    loss += span_column_loss(logits, spans[i], 0, targets.starts[i], targets.weights[i], with_gradient);
    loss += span_column_loss(logits, spans[i], 1, targets.ends[i], targets.weights[i], with_gradient);
  }
  return loss;
}

std::vector<int32_t> first_rows(std::span<const Span> spans) {
  std::vector<int32_t> rows;
  for (const Span& span : spans) rows.push_back(static_cast<int32_t>(span.start));
  return rows;
}

}  // namespace

struct Bert::HeadMemory {
  Tensor rows;                               // i32, of the encoder's output
  Tensor gathered;                           // [m, h] those rows
  Tensor pooled;                             // [b, h] tanh
  Tensor dropped, hidden_pre, hidden_dropped;  // inputs of the classifier's layers
  Tensor transform_pre, transform_act, transform_mean, transform_rstd;  // of masked words
};

Tensor Bert::pool(const Context& context, const BertInput& input, const Tensor& hidden, HeadMemory& head, Arena& arena) const {
  head.rows = row_numbers(first_rows(input.layout.spans), arena);
  const int64_t b = head.rows.numel(), h = config_.hidden_size;
  head.gathered = arena.allocate({b, h}, DType::f32);
  head.pooled = arena.allocate({b, h}, DType::f32);
  embedding_forward(context, head.rows, hidden, 0, head.gathered);
  linear_forward(context, head.gathered, weight(pooler_weight_), weight(pooler_bias_), head.pooled);
  for (float& x : head.pooled.span<float>()) x = std::tanh(x);
  return head.pooled;
}

// `dpooled` is overwritten; what comes out is added to `gradient` [n, h].
void Bert::pool_backward(const Context& context, const Tensor& dpooled, HeadMemory& head, const Tensor& gradient, Arena& arena) const {
  const auto y = head.pooled.span<float>();
  float* dy = dpooled.data<float>();
  for (size_t i = 0; i < y.size(); ++i) dy[i] *= 1 - y[i] * y[i];
  const Tensor drows = arena.allocate(head.gathered.shape(), DType::f32);
  linear_backward_weight(context, dpooled, head.gathered, gradient_of(pooler_weight_), gradient_of(pooler_bias_));
  linear_backward_input(context, dpooled, weight(pooler_weight_), drows);
  embedding_backward(context, drows, head.rows, 0, gradient);
}

Tensor Bert::classify(const Context& context, const BertInput& input, const Tensor& x, HeadMemory& head, Arena& arena) const {
  const int64_t m = x.dim(0);
  head.dropped = arena.allocate(x.shape(), DType::f32);
  bias_dropout_residual_forward(context, x, {}, {}, dropout(input, bert::kHeadSite, head_.dropout), head.dropped);
  Tensor last = head.dropped;
  if (head_.hidden_size > 0) {
    head.hidden_pre = arena.allocate({m, head_.hidden_size}, DType::f32);
    head.hidden_dropped = arena.allocate({m, head_.hidden_size}, DType::f32);
    last = head.hidden_dropped;
    linear_activation_forward(context, head.dropped, weight(classifier_hidden_weight_), weight(classifier_hidden_bias_),
                              Activation::gelu_erf, head.hidden_pre, last);
    bias_dropout_residual_forward(context, last, {}, {}, dropout(input, bert::kHeadHiddenSite, head_.dropout), last);
  }
  const Tensor logits = arena.allocate({m, head_.outputs()}, DType::f32);
  linear_forward(context, last, weight(classifier_weight_), weight(classifier_bias_), logits);
  return logits;
}

// The gradient of the classifier's input.
Tensor Bert::classify_backward(const Context& context, const BertInput& input, const Tensor& dlogits, HeadMemory& head, Arena& arena) const {
  const bool two = head_.hidden_size > 0;
  Tensor dx = arena.allocate(two ? head.hidden_dropped.shape() : head.dropped.shape(), DType::f32);
  linear_backward_weight(context, dlogits, two ? head.hidden_dropped : head.dropped, gradient_of(classifier_weight_), gradient_of(classifier_bias_));
  linear_backward_input(context, dlogits, weight(classifier_weight_), dx);
  if (two) {
    const Dropout mask = dropout(input, bert::kHeadHiddenSite, head_.dropout);
    if (mask.active()) bias_dropout_residual_backward(context, dx, mask, dx, {});
    activation_backward(context, Activation::gelu_erf, head.hidden_pre, dx, dx);
    linear_backward_weight(context, dx, head.dropped, gradient_of(classifier_hidden_weight_), gradient_of(classifier_hidden_bias_));
    const Tensor dfirst = arena.allocate(head.dropped.shape(), DType::f32);
    linear_backward_input(context, dx, weight(classifier_hidden_weight_), dfirst);
    dx = dfirst;
  }
  const Dropout mask = dropout(input, bert::kHeadSite, head_.dropout);
  if (mask.active()) bias_dropout_residual_backward(context, dx, mask, dx, {});
  return dx;
}

double Bert::classifier_loss(const Context& context, const BertInput& input, const BertTargets& targets, const Tensor& logits,
                             bool with_gradient, Arena& arena) const {
  if (head_.head == BertHead::spans) return span_loss(input, logits, targets, with_gradient);
  if (head_.head == BertHead::choice) {
    check(targets.choices > 0 && logits.dim(0) % targets.choices == 0, "{} sequences are no groups of {} choices", logits.dim(0), targets.choices);
    return cross_entropy(context, logits.reshape({-1, targets.choices}), targets.labels, targets.weights, with_gradient, arena);
  }
  if (head_.head == BertHead::sequence && head_.num_labels == 1) return squared_error(logits, targets.values, targets.weights, with_gradient);
  return cross_entropy(context, logits, targets.labels, targets.weights, with_gradient, arena);
}

// What the decoder sees of the masked rows: norm(gelu(dense(x))), in head.gathered's place.
Tensor Bert::transform_masked(const Context& context, const Tensor& hidden, HeadMemory& head, Arena& arena) const {
  const int64_t m = head.rows.numel(), h = config_.hidden_size;
  for (Tensor* x : {&head.gathered, &head.transform_pre, &head.transform_act}) *x = arena.allocate({m, h}, DType::f32);
  for (Tensor* x : {&head.transform_mean, &head.transform_rstd}) *x = arena.allocate({m}, DType::f32);
  const Tensor out = arena.allocate({m, h}, DType::f32);
  embedding_forward(context, head.rows, hidden, 0, head.gathered);
  linear_activation_forward(context, head.gathered, weight(transform_weight_), weight(transform_bias_), config_.activation,
                            head.transform_pre, head.transform_act);
  layernorm_forward(context, head.transform_act, weight(transform_norm_weight_), weight(transform_norm_bias_),
                    static_cast<float>(config_.layernorm_epsilon), out, head.transform_mean, head.transform_rstd);
  return out;
}

double Bert::pretraining_loss(const Context& context, const BertInput& input, const BertTargets& targets, const Tensor& hidden,
                              const Tensor& gradient, bool with_gradient, Arena& arena) const {
  HeadMemory head;
  double loss = 0;
  if (!targets.masked.empty()) {
    head.rows = row_numbers(targets.masked, arena);
    const Tensor x = transform_masked(context, hidden, head, arena);
    const LmHead decoder(config_.hidden_size, config_.vocab_size, config_.vocab_size, {});
    LmHeadWorkspace workspace = decoder.allocate_workspace(DType::f32, x.dim(0), arena);
    // x holds its own gradient after the decoder's backward.
    LmHead::Gradients gradients{x, {}, {}};
    if (with_gradient) gradients.dtable = gradient_of(token_), gradients.dbias = gradient_of(decoder_bias_);
    loss += decoder.loss(context, x, weight(token_), row_numbers(targets.labels, arena), copy_of(targets.weights, arena), 1.0f, workspace,
                         with_gradient ? &gradients : nullptr, {}, weight(decoder_bias_));
    if (with_gradient) {
      layernorm_backward(context, x, head.transform_act, weight(transform_norm_weight_), head.transform_mean, head.transform_rstd, x, false,
                         gradient_of(transform_norm_weight_), gradient_of(transform_norm_bias_));
      activation_backward(context, config_.activation, head.transform_pre, x, x);
      linear_backward_weight(context, x, head.gathered, gradient_of(transform_weight_), gradient_of(transform_bias_));
      const Tensor drows = head.transform_act;  // no longer needed
      linear_backward_input(context, x, weight(transform_weight_), drows);
      embedding_backward(context, drows, head.rows, 0, gradient);
    }
  }
  if (targets.order.empty()) return loss;
  HeadMemory order;
  const Tensor pooled = pool(context, input, hidden, order, arena);
  const int64_t b = pooled.dim(0);
  const Tensor logits = arena.allocate({b, 2}, DType::f32);
  linear_forward(context, pooled, weight(order_weight_), weight(order_bias_), logits);
  const std::vector<float> share(static_cast<size_t>(b), 1.0f / static_cast<float>(b));
  loss += cross_entropy(context, logits, targets.order, share, with_gradient, arena);
  if (with_gradient) {
    const Tensor dpooled = arena.allocate(pooled.shape(), DType::f32);
    linear_backward_weight(context, logits, pooled, gradient_of(order_weight_), gradient_of(order_bias_));
    linear_backward_input(context, logits, weight(order_weight_), dpooled);
    pool_backward(context, dpooled, order, gradient, arena);
  }
  return loss;
}

double Bert::run(const Context& context, const BertInput& input, const BertTargets& targets, bool with_gradient, Arena& arena) const {
  check(head_.head != BertHead::none, "an encoder without a head has no loss");
  BertMemory m = allocate(input.tokens.numel(), with_gradient, arena);
  const Tensor hidden = encode(context, input, m);
  if (with_gradient) fill(context, m.gradient, 0);
  double loss = 0;
  if (head_.head == BertHead::pretraining) {
    loss = pretraining_loss(context, input, targets, hidden, m.gradient, with_gradient, arena);
  } else {
    HeadMemory head;
    const bool pooled = head_.has_pooler();
    const Tensor x = pooled ? pool(context, input, hidden, head, arena) : hidden;
    const Tensor logits = classify(context, input, x, head, arena);
    loss = classifier_loss(context, input, targets, logits, with_gradient, arena);
    if (with_gradient) {
      const Tensor dx = classify_backward(context, input, logits, head, arena);
      pooled ? pool_backward(context, dx, head, m.gradient, arena) : add_scaled(context, 1.0f, dx, m.gradient);
    }
  }
  if (with_gradient) encode_backward(context, input, m);
  return loss;
}

double Bert::train(const Context& context, const BertInput& input, const BertTargets& targets, Arena& arena) const {
  return run(context, input, targets, true, arena);
}

double Bert::loss(const Context& context, const BertInput& input, const BertTargets& targets, Arena& arena) const {
  return run(context, input, targets, false, arena);
}

Tensor Bert::predict(const Context& context, const BertInput& input, Arena& arena, std::span<const int32_t> masked) const {
  BertMemory m = allocate(input.tokens.numel(), false, arena);
  const Tensor hidden = encode(context, input, m);
  HeadMemory head;
  if (head_.head == BertHead::none) return hidden;
  if (head_.head == BertHead::pretraining) {
    head.rows = row_numbers(masked, arena);
    const Tensor x = transform_masked(context, hidden, head, arena);
    const Tensor logits = arena.allocate({x.dim(0), config_.vocab_size}, DType::f32);
    linear_forward(context, x, weight(token_), weight(decoder_bias_), logits);
    return logits;
  }
  return classify(context, input, head_.has_pooler() ? pool(context, input, hidden, head, arena) : hidden, head, arena);
}

Tensor Bert::predict_order(const Context& context, const BertInput& input, Arena& arena) const {
  check(head_.head == BertHead::pretraining, "only a model with its pretraining heads tells the order of texts");
  BertMemory m = allocate(input.tokens.numel(), false, arena);
  HeadMemory head;
  const Tensor pooled = pool(context, input, encode(context, input, m), head, arena);
  const Tensor logits = arena.allocate({pooled.dim(0), 2}, DType::f32);
  linear_forward(context, pooled, weight(order_weight_), weight(order_bias_), logits);
  return logits;
}

size_t Bert::memory_bytes(int64_t n, int64_t b, int64_t m, bool with_backward) const {
  Arena measure;
  allocate(n, with_backward, measure);
  // The head, from above: its tensors are few and narrow.
  const int64_t h = config_.hidden_size, inner = head_.hidden_size, rows = head_.has_pooler() ? b : n;
  measure.allocate({rows * (4 * h + 3 * inner + 2 * std::max<int64_t>(head_.outputs(), 2) + 16)}, DType::f32);
  if (head_.head == BertHead::pretraining) {
    measure.allocate({m * (5 * h + 32) + b * (5 * h + 32)}, DType::f32);
    measure.allocate({m, config_.vocab_size}, DType::f32);
  }
  if (head_.has_pooler()) measure.allocate({b * (5 * h + 32)}, DType::f32);
  constexpr size_t kAlignments = 64 * Arena::kAlignment;
  return measure.peak() + kAlignments;
}

}  // namespace triax
