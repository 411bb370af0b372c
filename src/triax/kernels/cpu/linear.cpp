#include <functional>

#include "triax/kernels/cpu/gemm.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/rows.h"

namespace triax::cpu {
namespace {

Extent extent_of(const Tile& tile) {
  return {tile.row, tile.col, tile.rows, tile.cols};
}
Block<const float> sums_of(const Tile& tile) {
  return {tile.sums, tile.stride};
}

const float* from_column(const Tensor& bias, int64_t col) {
  return bias.defined() ? bias.data<float>() + col : nullptr;
}

}  // namespace

void gemm(bool transpose_a, bool transpose_b, const Tensor& a, const Tensor& b, float beta,
          const Tensor& c) {
  multiply({transpose_a, transpose_b, a, b, c, beta});
}

void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  const Product product{false, true, x, weight, y};
  if (!bias.defined()) return multiply(product);
  with_compute_type(y.dtype(), [&]<typename T>(T) {
    const auto finish = [&](const Tile& tile) {
      add_bias(tile.rows, tile.cols, sums_of(tile), from_column(bias, tile.col),
               block_of<T>(y, extent_of(tile)));
    };
    multiply(product, std::ref(finish));
  });
}

void linear_activation_forward(const Tensor& x, const Tensor& weight, const Tensor& bias,
                               Activation activation, const Tensor& pre, const Tensor& y) {
  with_compute_type(y.dtype(), [&]<typename T>(T) {
    const auto finish = [&](const Tile& tile) {
      activate(activation, tile.rows, tile.cols, sums_of(tile), from_column(bias, tile.col),
               block_of<T>(pre, extent_of(tile)), block_of<T>(y, extent_of(tile)));
    };
    multiply({false, true, x, weight, pre}, std::ref(finish));
  });
}

void linear_backward_input(const Tensor& dy, const Tensor& weight, const Tensor& dx,
                           bool accumulate) {
  multiply({false, false, dy, weight, dx, accumulate ? 1.0f : 0.0f});
}

void linear_activation_backward_input(const Tensor& dy, const Tensor& weight, const Tensor& pre,
                                      Activation activation, const Tensor& dpre) {
  with_compute_type(dpre.dtype(), [&]<typename T>(T) {
    const auto finish = [&](const Tile& tile) {
      activate_backward(activation, tile.rows, tile.cols, block_of<const T>(pre, extent_of(tile)),
                        sums_of(tile), block_of<T>(dpre, extent_of(tile)));
    };
    multiply({false, false, dy, weight, dpre}, std::ref(finish));
  });
}

void linear_backward_weight(const Tensor& dy, const Tensor& x, const Tensor& dweight,
                            const Tensor& dbias) {
  const Product product{true, false, dy, x, dweight, 1.0f};
  if (!dbias.defined()) return multiply(product);
  if (x.dim(1) == 0) return add_column_sums(dy, dbias);  // nothing to multiply
  multiply_and_sum(product, dbias);
}

}  // namespace triax::cpu
