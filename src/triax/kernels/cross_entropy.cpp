#include "triax/kernels/cross_entropy.h"

#include "triax/base/error.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cpu/cross_entropy.h"
#include "triax/kernels/dispatch.h"

namespace triax {
namespace {

constexpr auto kStatistics = "softmax_statistics", kBackward = "cross_entropy_backward";

void check_logits(const Context& context, std::string_view op, const Tensor& logits,
                  const Tensor& targets, int64_t vocab_start, int64_t vocab_size) {
  require_compute_type({op, "logits", logits});
  check(logits.rank() == 2, "{}: logits must be [n, vocabulary], not {}", op,
        logits.shape().to_string());
  require(context, {op, "logits", logits}, logits.shape(), logits.dtype());
  require_contiguous({op, "logits", logits});
  require(context, {op, "targets", targets}, {logits.dim(0)}, DType::i32);
  require_contiguous({op, "targets", targets});
  check(vocab_start >= 0 && vocab_size >= 0,
        "{}: vocab_start {} and vocab_size {} must not be negative", op, vocab_start, vocab_size);
}

void require_vector(const Context& context, const Argument& argument, int64_t n) {
  require(context, argument, {n}, DType::f32);
  require_contiguous(argument);
}

void check_tokens(const Context& context, const Argument& argument, const Tensor& logits) {
  require(context, argument, {logits.dim(0)}, DType::f32);
  require_contiguous(argument);
}

}  // namespace

void softmax_statistics(const Context& context, const Tensor& logits, const Tensor& targets,
                        int64_t vocab_start, int64_t vocab_size, const Tensor& row_max,
                        const Tensor& row_sum, const Tensor& target_logit) {
  check_logits(context, kStatistics, logits, targets, vocab_start, vocab_size);
  check_tokens(context, {kStatistics, "row_max", row_max}, logits);
  check_tokens(context, {kStatistics, "row_sum", row_sum}, logits);
  check_tokens(context, {kStatistics, "target_logit", target_logit}, logits);
  dispatch(context, kStatistics, cpu::softmax_statistics, &DeviceOperations::softmax_statistics, logits, targets, vocab_start, vocab_size, row_max, row_sum, target_logit);
}

void cross_entropy_backward(const Context& context, const Tensor& logits, const Tensor& targets,
                            int64_t vocab_start, int64_t vocab_size, const Tensor& lse,
                            const Tensor& weight) {
  check_logits(context, kBackward, logits, targets, vocab_start, vocab_size);
  check_tokens(context, {kBackward, "lse", lse}, logits);
  check_tokens(context, {kBackward, "weight", weight}, logits);
  dispatch(context, kBackward, cpu::cross_entropy_backward, &DeviceOperations::cross_entropy_backward, logits, targets, vocab_start, vocab_size, lse, weight);
}

void rescale_sums(const Context& context, const Tensor& from, const Tensor& to, const Tensor& row_sum) {
  constexpr auto op = "rescale_sums";
  for (const Argument& argument : {Argument{op, "from", from}, {op, "to", to}, {op, "row_sum", row_sum}})
    require_vector(context, argument, from.numel());
  dispatch(context, op, cpu::rescale_sums, &DeviceOperations::rescale_sums, from, to, row_sum);
}

void token_losses(const Context& context, const Tensor& row_max, const Tensor& row_sum, const Tensor& target_logit,
                  const Tensor& weight, float loss_scale, const Tensor& losses) {
  constexpr auto op = "token_losses";
  for (const Argument& argument : {Argument{op, "row_max", row_max}, {op, "row_sum", row_sum}, {op, "target_logit", target_logit},
                                   {op, "weight", weight}, {op, "losses", losses}})
    require_vector(context, argument, row_max.numel());
  dispatch(context, op, cpu::token_losses, &DeviceOperations::token_losses, row_max, row_sum, target_logit, weight, loss_scale,
           losses);
}

double weighted_sum(const Context& context, const Tensor& weights, const Tensor& values) {
  constexpr auto op = "weighted_sum";
  require_vector(context, {op, "weights", weights}, values.numel());
  require_vector(context, {op, "values", values}, values.numel());
  return dispatch(context, op, cpu::weighted_sum, &DeviceOperations::weighted_sum, weights, values);
}

}  // namespace triax
