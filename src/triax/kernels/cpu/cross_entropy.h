// The CPU's cross-entropy. Arguments have been checked by the functions of the same names in triax::.
#pragma once

#include "triax/kernels/cross_entropy.h"

namespace triax::cpu {

void softmax_statistics(const Tensor& logits, const Tensor& targets, int64_t vocab_start,
                        int64_t vocab_size, const Tensor& row_max, const Tensor& row_sum,
                        const Tensor& target_logit);
void cross_entropy_backward(const Tensor& logits, const Tensor& targets, int64_t vocab_start,
                            int64_t vocab_size, const Tensor& lse, const Tensor& weight);

void rescale_sums(const Tensor& from, const Tensor& to, const Tensor& row_sum);
void token_losses(const Tensor& row_max, const Tensor& row_sum, const Tensor& target_logit, const Tensor& weight,
                  float loss_scale, const Tensor& losses);
double weighted_sum(const Tensor& weights, const Tensor& values);

}  // namespace triax::cpu
