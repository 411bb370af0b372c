// The CPU's implementations. Arguments have been checked by the functions of the same names in
// triax::, which say what each operation does.
#pragma once

#include "triax/kernels/adamw.h"
#include "triax/kernels/elementwise.h"
#include "triax/kernels/embedding.h"
#include "triax/kernels/float8.h"
#include "triax/kernels/layernorm.h"
#include "triax/kernels/linear.h"

namespace triax::cpu {

void gemm(bool transpose_a, bool transpose_b, const Tensor& a, const Tensor& b, float beta,
          const Tensor& c);
void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y);
void linear_activation_forward(const Tensor& x, const Tensor& weight, const Tensor& bias,
                               Activation activation, const Tensor& pre, const Tensor& y);
void linear_backward_input(const Tensor& dy, const Tensor& weight, const Tensor& dx,
                           bool accumulate);
void linear_activation_backward_input(const Tensor& dy, const Tensor& weight, const Tensor& pre,
                                      Activation activation, const Tensor& dpre);
void linear_backward_weight(const Tensor& dy, const Tensor& x, const Tensor& dweight,
                            const Tensor& dbias);

void quantize(const Tensor& x, Float8 format, bool transpose, const Tensor& codes, const Tensor& factor);

void layernorm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, float epsilon,
                       const Tensor& y, const Tensor& mean, const Tensor& rstd);
void layernorm_backward(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                        const Tensor& rstd, const Tensor& dx, bool accumulate, const Tensor& dgamma,
                        const Tensor& dbeta);

void activation_forward(Activation activation, const Tensor& x, const Tensor& y);
void activation_backward(Activation activation, const Tensor& x, const Tensor& dy,
                         const Tensor& dx);
void tanh_forward(const Tensor& x, const Tensor& y);
void tanh_backward(const Tensor& y, const Tensor& dy, const Tensor& dx);
void bias_dropout_residual_forward(const Tensor& x, const Tensor& bias, const Tensor& residual,
                                   const Dropout& dropout, const Tensor& out);
void bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                    const Tensor& dbias);
void convert(const Tensor& src, const Tensor& dst);
void fill(const Tensor& x, float value);
void add_scaled(float alpha, const Tensor& x, const Tensor& y);
void scale(float alpha, const Tensor& x);
double sum_of_squares(const Tensor& x);
inline void sums_of_squares(std::span<const Tensor> xs, std::span<double> sums) {
  for (size_t i = 0; i < xs.size(); ++i) sums[i] = sum_of_squares(xs[i]);
}
// sums [h] f32 += column sums of x [n, h] (f32 or bf16, rows may be strided).
void add_column_sums(const Tensor& x, const Tensor& sums);

void embedding_forward(const Tensor& ids, const Tensor& table, int64_t vocab_start,
                       const Tensor& out);
void embedding_backward(const Tensor& dout, const Tensor& ids, int64_t vocab_start,
                        const Tensor& dtable);
void scatter_rows(const Tensor& values, const Tensor& rows, int64_t first_row, bool accumulate, const Tensor& table);
// Throws unless every position is a row of the table.
void check_positions(const Tensor& positions, const Tensor& table);
void position_dropout_forward(const Tensor& positions, const Tensor& table, const Dropout& dropout,
                              const Tensor& x);
void position_dropout_backward(const Tensor& positions, const Dropout& dropout, const Tensor& dx,
                               const Tensor& dtable);

void adamw_update(const AdamWStep& step, std::span<const AdamWRange> ranges);

}  // namespace triax::cpu
