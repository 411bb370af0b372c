// Softmax cross-entropy over a vocabulary that may be split between tensor-parallel ranks (Shoeybi et
// al. 2019, section 3): the ranks exchange three numbers a token, never logits.
#pragma once

#include "triax/kernels/context.h"

namespace triax {

// Of this rank's logits [n, v_local] (f32, bf16 or f16), which are columns [vocab_start, vocab_start +
// v_local) of the vocabulary; columns at or past `vocab_size` are padding and take no part.
//   row_max [n] f32 = max over the local columns (-inf when none is valid)
//   row_sum [n] f32 = sum of exp(logit - row_max) over them
//   target_logit [n] f32 = logit of targets[i] (i32) if it lies here, else 0
void softmax_statistics(const Context& context, const Tensor& logits, const Tensor& targets,
                        int64_t vocab_start, int64_t vocab_size, const Tensor& row_max,
                        const Tensor& row_sum, const Tensor& target_logit);

// logits <- (softmax - onehot(target)) * weight[i], in place, with softmax = exp(logit - lse[i]);
// weight f32 [n] is the token's share of the loss (0 for masked tokens). Padding columns become 0.
void cross_entropy_backward(const Context& context, const Tensor& logits, const Tensor& targets,
                            int64_t vocab_start, int64_t vocab_size, const Tensor& lse,
                            const Tensor& weight);

// For ranks that share a vocabulary: row_sum [n] *= exp(from - to), from a rank's maximum to that of all of them.
void rescale_sums(const Context& context, const Tensor& from, const Tensor& to, const Tensor& row_sum);

// Of the whole vocabulary's statistics, all f32 [n]: row_max becomes the log of the sum of exponentials, losses = that -
// target_logit, and row_sum becomes weight * loss_scale, the weight that cross_entropy_backward() takes.
void token_losses(const Context& context, const Tensor& row_max, const Tensor& row_sum, const Tensor& target_logit,
                  const Tensor& weight, float loss_scale, const Tensor& losses);

// The sum of weights[i] * values[i] (f32 [n]) where the weight is not 0, in double and in a fixed order.
double weighted_sum(const Context& context, const Tensor& weights, const Tensor& values);

}  // namespace triax
