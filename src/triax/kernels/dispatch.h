// The one place where a call of an operation finds its device: the function of the CPU, which takes no context, or the
// entry of the same name in the table of the context's device. Arguments have been checked.
#pragma once

#include <string_view>

#include "triax/kernels/adamw.h"
#include "triax/kernels/attention.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cross_entropy.h"
#include "triax/kernels/device_queue.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/kernels/float8.h"
#include "triax/kernels/layernorm.h"
#include "triax/kernels/linear.h"

namespace triax {

// Each with the signature of the operation itself.
struct DeviceOperations {
  decltype(&triax::adamw_update) adamw_update;
  decltype(&triax::attention_forward) attention_forward;
  decltype(&triax::attention_backward) attention_backward;
  decltype(&triax::attention_decode) attention_decode;
  decltype(&triax::softmax_statistics) softmax_statistics;
  decltype(&triax::cross_entropy_backward) cross_entropy_backward;
  decltype(&triax::rescale_sums) rescale_sums;
  decltype(&triax::token_losses) token_losses;
  decltype(&triax::weighted_sum) weighted_sum;
  decltype(&triax::activation_forward) activation_forward;
  decltype(&triax::activation_backward) activation_backward;
  decltype(&triax::tanh_forward) tanh_forward;
  decltype(&triax::tanh_backward) tanh_backward;
  decltype(&triax::bias_dropout_residual_forward) bias_dropout_residual_forward;
  decltype(&triax::bias_dropout_residual_backward) bias_dropout_residual_backward;
  decltype(&triax::convert) convert;
  decltype(&triax::fill) fill;
  decltype(&triax::add_scaled) add_scaled;
  decltype(&triax::scale) scale;
  decltype(&triax::sum_of_squares) sum_of_squares;
  decltype(&triax::sums_of_squares) sums_of_squares;
  decltype(&triax::embedding_forward) embedding_forward;
  decltype(&triax::embedding_backward) embedding_backward;
  decltype(&triax::scatter_rows) scatter_rows;
  decltype(&triax::position_dropout_forward) position_dropout_forward;
  decltype(&triax::position_dropout_backward) position_dropout_backward;
  decltype(&triax::layernorm_forward) layernorm_forward;
  decltype(&triax::layernorm_backward) layernorm_backward;
  decltype(&triax::linear_forward) linear_forward;
  decltype(&triax::linear_activation_forward) linear_activation_forward;
  decltype(&triax::linear_backward_input) linear_backward_input;
  decltype(&triax::linear_activation_backward_input) linear_activation_backward_input;
  decltype(&triax::linear_backward_weight) linear_backward_weight;
  decltype(&triax::gemm) gemm;
  decltype(&triax::quantize) quantize;
};

template <typename Cpu, typename Entry, typename... Arguments>
auto dispatch(const Context& context, std::string_view operation, Cpu on_cpu, Entry DeviceOperations::* entry,
              const Arguments&... arguments) {
  if (context.device.kind == Device::Kind::cpu) return on_cpu(arguments...);
  if (!context.queue) fail_no_device(context, operation);
  return (context.queue->operations->*entry)(context, arguments...);
}

}  // namespace triax
