// The table of kernels/dispatch.h for NVIDIA GPUs.
#pragma once

#include "triax/kernels/cuda/launch.h"
#include "triax/kernels/dispatch.h"

namespace triax::TRIAX_GPU {

const DeviceOperations& operations();

// Under the names of the operations, with their signatures: those that one source has and another one uses.
namespace on_gpu {

decltype(triax::fill) fill;
decltype(triax::activation_backward) activation_backward;
decltype(triax::gemm) gemm;
decltype(triax::quantize) quantize;
decltype(triax::linear_forward) linear_forward;
decltype(triax::linear_activation_forward) linear_activation_forward;
decltype(triax::linear_backward_input) linear_backward_input;
decltype(triax::linear_activation_backward_input) linear_activation_backward_input;
decltype(triax::linear_backward_weight) linear_backward_weight;
decltype(triax::attention_forward) attention_forward;
decltype(triax::attention_backward) attention_backward;
decltype(triax::attention_decode) attention_decode;

}  // namespace on_gpu

}  // namespace triax::TRIAX_GPU
