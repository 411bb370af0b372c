#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/partial_sums.h"
#include "triax/kernels/cpu/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/dropout_residual.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "triax/kernels/cpu/dropout-inl.h"
#include "triax/kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

// body(j, count, factors) over a row in parts: those of the mask's blocks of 128 columns, `factors`
// being what elements j.. are multiplied with, or the whole row and null when there is no mask.
// `row` and `col` are the global numbers of the row and of its first column.
template <typename Body>
HWY_INLINE void for_masked_parts(const DropoutMask* mask, int64_t row, int64_t col, int64_t cols,
                                 const Body& body) {
  if (!mask) return body(0, cols, static_cast<const float*>(nullptr));
  alignas(64) float factors[128];
  for (int64_t j = 0; j < cols;) {
    const int64_t count = std::min(cols - j, 128 - (col + j) % 128);
    dropout_row(*mask, row, col + j, count, factors);
    body(j, count, static_cast<const float*>(factors));
    j += count;
  }
}

// out = residual + factor * (x + bias): the bias is one row for all rows, or (position embedding)
// row table_rows[i] of a table.
template <typename T, typename Bias>
HWY_INLINE void forward_rows(const DropoutMask* mask, int64_t row, int64_t col, int64_t rows,
                             int64_t cols, Block<const T> x, Block<const Bias> bias,
                             const int32_t* table_rows, Block<const T> residual, Block<T> out) {
  for (int64_t i = 0; i < rows; ++i) {
    const Bias* added = bias.data ? bias[table_rows ? table_rows[i] : 0] : nullptr;
    const T *in = x[i], *kept = residual.data ? residual[i] : nullptr;
    T* to = out[i];
    for_masked_parts(mask, row + i, col, cols,
                     [&](int64_t begin, int64_t count, const float* factors) HWY_ATTR {
                       for_lanes(count, [&](int64_t at, auto lanes) HWY_ATTR {
                         const int64_t j = begin + at;
                         FloatVector value = load(in + j, lanes);
                         if (added) value = hn::Add(value, load(added + j, lanes));
                         if (factors) value = hn::Mul(value, load(factors + at, lanes));
                         if (kept) value = hn::Add(value, load(kept + j, lanes));
                         store(value, to + j, lanes);
                       });
                     });
  }
}

// dx = factor * dout, sums += its columns (unless null).
template <typename T>
HWY_INLINE void backward_rows(const DropoutMask* mask, int64_t row, int64_t col, int64_t rows,
                              int64_t cols, Block<const T> dout, Block<T> dx, float* sums) {
  for (int64_t i = 0; i < rows; ++i) {
    const T* in = dout[i];
    T* to = dx[i];
    for_masked_parts(mask, row + i, col, cols,
                     [&](int64_t begin, int64_t count, const float* factors) HWY_ATTR {
                       for_lanes(count, [&](int64_t at, auto lanes) HWY_ATTR {
                         const int64_t j = begin + at;
                         FloatVector value = load(in + j, lanes);
                         if (factors) value = hn::Mul(value, load(factors + at, lanes));
                         store(value, to + j, lanes);
                         if (sums) store(hn::Add(load(sums + j, lanes), value), sums + j, lanes);
                       });
                     });
  }
}

void forward_f32(const DropoutMask* mask, int64_t row, int64_t col, int64_t rows, int64_t cols,
                 Block<const float> x, Block<const float> bias, const int32_t* table_rows,
                 Block<const float> residual, Block<float> out) {
  forward_rows(mask, row, col, rows, cols, x, bias, table_rows, residual, out);
}
void forward_bf16(const DropoutMask* mask, int64_t row, int64_t col, int64_t rows, int64_t cols,
                  Block<const bf16> x, Block<const float> bias, const int32_t* table_rows,
                  Block<const bf16> residual, Block<bf16> out) {
  forward_rows(mask, row, col, rows, cols, x, bias, table_rows, residual, out);
}
void forward_f16(const DropoutMask* mask, int64_t row, int64_t col, int64_t rows, int64_t cols,
                  Block<const f16> x, Block<const float> bias, const int32_t* table_rows,
                  Block<const f16> residual, Block<f16> out) {
  forward_rows(mask, row, col, rows, cols, x, bias, table_rows, residual, out);
}
void forward_table_bf16(const DropoutMask* mask, int64_t row, int64_t col, int64_t rows,
                        int64_t cols, Block<const bf16> x, Block<const bf16> table,
                        const int32_t* table_rows, Block<const bf16> residual, Block<bf16> out) {
  forward_rows(mask, row, col, rows, cols, x, table, table_rows, residual, out);
}
void forward_table_f16(const DropoutMask* mask, int64_t row, int64_t col, int64_t rows,
                        int64_t cols, Block<const f16> x, Block<const f16> table,
                        const int32_t* table_rows, Block<const f16> residual, Block<f16> out) {
  forward_rows(mask, row, col, rows, cols, x, table, table_rows, residual, out);
}
void backward_f32(const DropoutMask* mask, int64_t row, int64_t col, int64_t rows, int64_t cols,
                  Block<const float> dout, Block<float> dx, float* sums) {
  backward_rows(mask, row, col, rows, cols, dout, dx, sums);
}
void backward_bf16(const DropoutMask* mask, int64_t row, int64_t col, int64_t rows, int64_t cols,
                   Block<const bf16> dout, Block<bf16> dx, float* sums) {
  backward_rows(mask, row, col, rows, cols, dout, dx, sums);
}
void backward_f16(const DropoutMask* mask, int64_t row, int64_t col, int64_t rows, int64_t cols,
                   Block<const f16> dout, Block<f16> dx, float* sums) {
  backward_rows(mask, row, col, rows, cols, dout, dx, sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(forward_f32);
HWY_EXPORT(forward_bf16);
HWY_EXPORT(forward_f16);
HWY_EXPORT(forward_table_bf16);
HWY_EXPORT(forward_table_f16);
HWY_EXPORT(backward_f32);
HWY_EXPORT(backward_bf16);
HWY_EXPORT(backward_f16);

namespace {

DropoutMask mask_of(const Dropout& dropout, int64_t cols) {
  return {dropout, dropout.total_cols > 0 ? dropout.total_cols : cols};
}

}  // namespace

void bias_dropout_residual_forward(const Tensor& x, const Tensor& bias, const Tensor& residual,
                                   const Dropout& dropout, const Tensor& out) {
  const int64_t cols = x.dim(1);
  const DropoutMask mask = mask_of(dropout, cols);
  const Block<const float> bias_row(bias.defined() ? bias.data<float>() : nullptr, 0);
  parallel_for(x.dim(0), row_grain(cols), [&](int64_t begin, int64_t end) {
    const Extent e{begin, 0, end - begin, cols};
    const auto run = [&]<typename T>(T, auto* kernel) {
      kernel(dropout.active() ? &mask : nullptr, dropout.row_offset + begin, dropout.col_offset,
             e.rows, cols, block_of<const T>(x, e), bias_row, nullptr,
             block_of<const T>(residual, e), block_of<T>(out, e));
    };
    if (x.dtype() == DType::f32) return run(float{}, &HWY_DYNAMIC_DISPATCH(forward_f32));
    if (x.dtype() == DType::bf16) return run(bf16{}, &HWY_DYNAMIC_DISPATCH(forward_bf16));
    run(f16{}, &HWY_DYNAMIC_DISPATCH(forward_f16));
  });
}

void bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                    const Tensor& dbias) {
  const int64_t n = dout.dim(0), cols = dout.dim(1);
  if (!dx.defined()) {
    if (dbias.defined()) add_column_sums(dout, dbias);
    return;
  }
  const DropoutMask mask = mask_of(dropout, cols);
  const auto rows = [&](int64_t begin, int64_t end, float* sums) {
    const Extent e{begin, 0, end - begin, cols};
    const auto run = [&]<typename T>(T, auto* kernel) {
      kernel(dropout.active() ? &mask : nullptr, dropout.row_offset + begin, dropout.col_offset,
             e.rows, cols, block_of<const T>(dout, e), block_of<T>(dx, e), sums);
    };
    if (dout.dtype() == DType::f32) return run(float{}, &HWY_DYNAMIC_DISPATCH(backward_f32));
    if (dout.dtype() == DType::bf16) return run(bf16{}, &HWY_DYNAMIC_DISPATCH(backward_bf16));
    run(f16{}, &HWY_DYNAMIC_DISPATCH(backward_f16));
  };
  if (dbias.defined()) return sum_over_rows(n, cols, {dbias.data<float>()}, rows);
  parallel_for(n, row_grain(cols), [&](int64_t begin, int64_t end) { rows(begin, end, nullptr); });
}

void position_dropout_forward(const Tensor& positions, const Tensor& table, const Dropout& dropout,
                              const Tensor& x) {
  check_positions(positions, table);
  const int64_t cols = x.dim(1);
  const DropoutMask mask = mask_of(dropout, cols);
  parallel_for(x.dim(0), row_grain(cols), [&](int64_t begin, int64_t end) {
    const Extent e{begin, 0, end - begin, cols};
    const auto run = [&]<typename T>(T, auto* kernel) {
      const Block<T> rows = block_of<T>(x, e);
      kernel(dropout.active() ? &mask : nullptr, dropout.row_offset + begin, dropout.col_offset,
             e.rows, cols, Block<const T>(rows.data, rows.stride), block_of<const T>(table),
             positions.data<int32_t>() + begin, Block<const T>(), rows);
    };
    if (x.dtype() == DType::f32) return run(float{}, &HWY_DYNAMIC_DISPATCH(forward_f32));
    if (x.dtype() == DType::bf16) return run(bf16{}, &HWY_DYNAMIC_DISPATCH(forward_table_bf16));
    run(f16{}, &HWY_DYNAMIC_DISPATCH(forward_table_f16));
  });
}

}  // namespace triax::cpu
#endif
