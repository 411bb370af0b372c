// Linear layers: matrix products of the queue's library; what it cannot do in the same call is done by kernels after it.
#include "triax/kernels/cuda/operations.h"

#if defined(TRIAX_CUDA) || defined(TRIAX_CUDA_ON_HOST)

#include "triax/kernels/cuda/operands.h"

namespace triax::TRIAX_GPU::on_gpu {
namespace {

void multiply(const Context& context, Product product) {
  const int64_t k = product.a.dim(product.transpose_a ? 0 : 1);
  if (product.c.numel() == 0) return;
  if (k == 0) return product.beta == 0 ? on_gpu::fill(context, product.c, 0) : void();
  check(context.queue->multiply(product), "cuBLASLt has no product of {} by {} in {}", product.a.shape().to_string(),
        product.b.shape().to_string(), name_of(product.a.dtype()));
}

// False: the caller does what the epilogue would have.
bool multiply_with_epilogue(const Context& context, const Product& product) {
  return product.c.numel() > 0 && product.a.dim(product.transpose_a ? 0 : 1) > 0 && context.queue->multiply(product);
}

}  // namespace

void gemm(const Context& context, bool transpose_a, bool transpose_b, const Tensor& a, const Tensor& b, float beta,
          const Tensor& c) {
  multiply(context, {.transpose_a = transpose_a, .transpose_b = transpose_b, .a = a, .b = b, .beta = beta, .c = c, .bias = {}, .pre = {}});
}

void linear_forward(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  Product product{.transpose_b = true, .a = x, .b = weight, .c = y, .bias = bias, .pre = {}};
  if (!bias.defined()) return multiply(context, product);
  product.epilogue = Product::Epilogue::bias;
  if (multiply_with_epilogue(context, product)) return;
  product.epilogue = Product::Epilogue::none;
  multiply(context, product);
  const Area area = rows_of({&y, &bias});
  if (!is_empty(area)) add_bias(stream_of(context), type_of(y), area, floats(bias), matrix(y));
}

void linear_activation_forward(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias,
                               Activation activation, const Tensor& pre, const Tensor& y) {
  Product product{.transpose_b = true, .a = x, .b = weight, .c = y, .epilogue = Product::Epilogue::gelu, .bias = bias, .pre = pre};
  if (activation == Activation::gelu_tanh && multiply_with_epilogue(context, product)) return;
  product.epilogue = Product::Epilogue::none;
  product.c = pre;
  multiply(context, product);
  const Area area = rows_of({&y, &pre, &bias});
  if (!is_empty(area))
    bias_activation(stream_of(context), type_of(y), activation == Activation::gelu_erf, area, floats(bias), matrix(pre), matrix(y));
}

void linear_backward_input(const Context& context, const Tensor& dy, const Tensor& weight, const Tensor& dx, bool accumulate) {
  multiply(context, {.a = dy, .b = weight, .beta = accumulate ? 1.0f : 0.0f, .c = dx, .bias = {}, .pre = {}});
}

void linear_activation_backward_input(const Context& context, const Tensor& dy, const Tensor& weight, const Tensor& pre,
                                      Activation activation, const Tensor& dpre) {
  Product product{.a = dy, .b = weight, .c = dpre, .epilogue = Product::Epilogue::gelu_gradient, .bias = {}, .pre = pre};
  if (activation == Activation::gelu_tanh && multiply_with_epilogue(context, product)) return;
  product.epilogue = Product::Epilogue::none;
  multiply(context, product);
  on_gpu::activation_backward(context, activation, pre, dpre, dpre);
}

void linear_backward_weight(const Context& context, const Tensor& dy, const Tensor& x, const Tensor& dweight,
                            const Tensor& dbias) {
  Product product{.transpose_a = true, .a = dy, .b = x, .beta = 1, .c = dweight, .bias = dbias, .pre = {}};
  if (dbias.defined()) {
    product.epilogue = Product::Epilogue::bias_gradient;
    if (multiply_with_epilogue(context, product)) return;
    product.epilogue = Product::Epilogue::none;
  }
  multiply(context, product);
  const Area area = rows_of({&dy});
  if (!dbias.defined() || is_empty(area)) return;
  TRIAX_GPU::add_column_sums(stream_of(context), scratch_of(context, "linear_backward_weight", dbias.bytes()), type_of(dy), area,
                             matrix(dy), {}, {}, dbias.data<float>());
}

}  // namespace triax::TRIAX_GPU::on_gpu

#endif
