// Linear layers: matrix products of the queue's library; what it cannot do in the same call is done by kernels after it, and
// rounding the operands to FP8 before it.
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
        product.b.shape().to_string(), product.in_float8() ? "FP8" : name_of(product.a.dtype()));
}

// False: the caller does what the epilogue would have.
bool multiply_with_epilogue(const Context& context, const Product& product) {
  return product.c.numel() > 0 && product.a.dim(product.transpose_a ? 0 : 1) > 0 && context.queue->multiply(product);
}

// The same product of operands rounded to FP8, b to e4m3, where the context asks for it and cuBLASLt takes such a shape:
// on Ada and Hopper both operands with k along their rows, in multiples of 16 bytes as the rows of the result.
Product in_float8(const Context& context, Product p, Float8 format_of_a) {
  const DeviceQueue::Float8Memory& memory = context.queue->float8;
  const int64_t k = p.a.dim(p.transpose_a ? 0 : 1), padded = float8_columns(k);
  if (!context.in_layer || !memory.data || p.a.dtype() != DType::bf16) return p;
  if (p.c.numel() == 0 || k == 0 || p.c.dim(1) % 16 != 0 || !is_aligned(p.c) || !is_aligned(p.pre)) return p;
  auto* factors = static_cast<float*>(memory.data);
  auto* at = static_cast<char*>(memory.data) + DeviceQueue::Float8Memory::kFactors;
  const auto round = [&](Tensor& x, bool transpose, Product::Codes& codes, float* factor) {
    const Tensor to(at, {x.dim(transpose ? 1 : 0), padded}, DType::u8, context.device);
    at += round_up(static_cast<int64_t>(to.bytes()), DeviceQueue::Float8Memory::kAlignment);
    check(static_cast<char*>(to.raw()) + to.bytes() <= static_cast<char*>(memory.data) + memory.bytes,
          "a product of {} by {} needs more memory in FP8 than the {} bytes there are", p.a.shape().to_string(),
          p.b.shape().to_string(), memory.bytes);
    on_gpu::quantize(context, x, codes.format, transpose, to, Tensor(factor, {1}, DType::f32, context.device));
    x = to, codes.factor = factor;
  };
  p.a_codes.format = format_of_a;
  round(p.a, p.transpose_a, p.a_codes, factors);
  round(p.b, !p.transpose_b, p.b_codes, factors + 1);
  p.transpose_a = false, p.transpose_b = true;
  return p;
}

}  // namespace

void quantize(const Context& context, const Tensor& x, Float8 format, bool transpose, const Tensor& codes, const Tensor& factor) {
  const Area area = rows_of({&x});
  TRIAX_GPU::quantize(stream_of(context), scratch_of(context, "quantize", quantize_scratch()), type_of(x), area, matrix(x),
                      {.data = static_cast<uint8_t*>(codes.raw()), .stride = codes.dim(1), .factor = factor.data<float>(),
                       .e5m2 = format == Float8::e5m2, .transposed = transpose});
}

void gemm(const Context& context, bool transpose_a, bool transpose_b, const Tensor& a, const Tensor& b, float beta,
          const Tensor& c) {
  multiply(context, {.transpose_a = transpose_a, .transpose_b = transpose_b, .a = a, .b = b, .beta = beta, .c = c, .bias = {}, .pre = {}});
}

void linear_forward(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  Product product = in_float8(context, {.transpose_b = true, .a = x, .b = weight, .c = y, .bias = bias, .pre = {}}, Float8::e4m3);
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
  Product product = in_float8(context, {.transpose_b = true, .a = x, .b = weight, .c = y, .epilogue = Product::Epilogue::gelu, .bias = bias, .pre = pre},
                              Float8::e4m3);
  if (activation == Activation::gelu_tanh && multiply_with_epilogue(context, product)) return;
  product.epilogue = Product::Epilogue::none;
  product.c = pre;
  multiply(context, product);
  const Area area = rows_of({&y, &pre, &bias});
  if (!is_empty(area))
    bias_activation(stream_of(context), type_of(y), activation == Activation::gelu_erf, area, floats(bias), matrix(pre), matrix(y));
}

void linear_backward_input(const Context& context, const Tensor& dy, const Tensor& weight, const Tensor& dx, bool accumulate) {
  multiply(context, in_float8(context, {.a = dy, .b = weight, .beta = accumulate ? 1.0f : 0.0f, .c = dx, .bias = {}, .pre = {}}, Float8::e5m2));
}

void linear_activation_backward_input(const Context& context, const Tensor& dy, const Tensor& weight, const Tensor& pre,
                                      Activation activation, const Tensor& dpre) {
  Product product = in_float8(context, {.a = dy, .b = weight, .c = dpre, .epilogue = Product::Epilogue::gelu_gradient, .bias = {}, .pre = pre},
                              Float8::e5m2);
  if (activation == Activation::gelu_tanh && multiply_with_epilogue(context, product)) return;
  product.epilogue = Product::Epilogue::none;
  multiply(context, product);
  on_gpu::activation_backward(context, activation, pre, dpre, dpre);
}

void linear_backward_weight(const Context& context, const Tensor& dy, const Tensor& x, const Tensor& dweight,
                            const Tensor& dbias) {
  Product product = in_float8(context, {.transpose_a = true, .a = dy, .b = x, .beta = 1, .c = dweight, .bias = dbias, .pre = {}}, Float8::e5m2);
  if (dbias.defined() && !product.in_float8()) {  // a bias's gradient is the sum of what was not rounded
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
