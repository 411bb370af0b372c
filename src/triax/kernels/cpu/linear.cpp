#include <dnnl.hpp>

#include "triax/base/error.h"
#include "triax/kernels/cpu/ops.h"

namespace triax::cpu {
namespace {

using dnnl::memory;

memory::data_type dnnl_type(DType dtype) {
  return dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
}

// The rows of a tensor are at least one element apart, also when it has only one.
int64_t row_stride(const Tensor& t) {
  return std::max<int64_t>({t.stride(0), t.dim(1), 1});
}

memory matrix(const dnnl::engine& engine, const Tensor& t, bool transpose) {
  const int64_t ld = row_stride(t);
  const memory::dims dims = {t.dim(transpose ? 1 : 0), t.dim(transpose ? 0 : 1)};
  const memory::dims strides = {transpose ? 1 : ld, transpose ? ld : 1};
  return {memory::desc(dims, dnnl_type(t.dtype()), strides), engine, t.raw()};
}

void matmul(bool transpose_a, bool transpose_b, const Tensor& a, const Tensor& b, float beta,
            const Tensor& c) {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  static thread_local dnnl::stream stream(engine);
  memory src = matrix(engine, a, transpose_a), weights = matrix(engine, b, transpose_b),
         dst = matrix(engine, c, false);
  dnnl::primitive_attr attributes;
  if (beta != 0) {
    dnnl::post_ops sum;
    sum.append_sum(beta);
    attributes.set_post_ops(sum);
  }
  const dnnl::matmul::primitive_desc description(
      dnnl::matmul::desc(src.get_desc(), weights.get_desc(), dst.get_desc()), attributes, engine);
  dnnl::matmul(description)
      .execute(stream, {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, dst}});
  stream.wait();
}

}  // namespace

void gemm(bool transpose_a, bool transpose_b, const Tensor& a, const Tensor& b, float beta,
          const Tensor& c) {
  const int64_t m = c.dim(0), n = c.dim(1), k = a.dim(transpose_a ? 0 : 1);
  if (m == 0 || n == 0) return;
  if (k == 0) {
    if (beta == 0) cpu::fill(c, 0);
    return;
  }
  if (a.dtype() != DType::f32) return matmul(transpose_a, transpose_b, a, b, beta, c);
  const auto status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f,
                                 a.data<float>(), row_stride(a), b.data<float>(), row_stride(b),
                                 beta, c.data<float>(), row_stride(c));
  check(status == dnnl_success, "oneDNN refused a matrix product of {} x {} x {} (status {})", m, n,
        k, static_cast<int>(status));
}

void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  gemm(false, true, x, weight, 0, y);
  if (bias.defined()) cpu::bias_dropout_residual_forward(y, bias, {}, {}, y);
}

void linear_activation_forward(const Tensor& x, const Tensor& weight, const Tensor& bias,
                               Activation activation, const Tensor& pre, const Tensor& y) {
  gemm(false, true, x, weight, 0, pre);
  bias_activation_forward(activation, pre, bias, pre, y);
}

void linear_backward_input(const Tensor& dy, const Tensor& weight, const Tensor& dx,
                           bool accumulate) {
  gemm(false, false, dy, weight, accumulate ? 1.0f : 0.0f, dx);
}

void linear_activation_backward_input(const Tensor& dy, const Tensor& weight, const Tensor& pre,
                                      Activation activation, const Tensor& dpre) {
  gemm(false, false, dy, weight, 0, dpre);
  cpu::activation_backward(activation, pre, dpre, dpre);
}

void linear_backward_weight(const Tensor& dy, const Tensor& x, const Tensor& dweight,
                            const Tensor& dbias) {
  gemm(true, false, dy, x, 1, dweight);
  if (dbias.defined()) add_column_sums(dy, dbias);
}

}  // namespace triax::cpu
