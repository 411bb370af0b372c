// What a pooler and heads on chosen rows take besides products: a few rows, not worth more than plain loops.
#include <cmath>

#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/rows.h"

namespace triax::cpu {

void tanh_forward(const Tensor& x, const Tensor& y) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    for_blocks({&x, &y}, [&](const Extent& e) {
      const auto from = block_of<const T>(x, e);
      const auto to = block_of<T>(y, e);
      for (int64_t i = 0; i < e.rows; ++i)
        for (int64_t j = 0; j < e.cols; ++j) to[i][j] = T(std::tanh(static_cast<float>(from[i][j])));
    });
  });
}

void tanh_backward(const Tensor& y, const Tensor& dy, const Tensor& dx) {
  with_compute_type(y.dtype(), [&]<typename T>(T) {
    for_blocks({&y, &dy, &dx}, [&](const Extent& e) {
      const auto out = block_of<const T>(y, e), up = block_of<const T>(dy, e);
      const auto to = block_of<T>(dx, e);
      for (int64_t i = 0; i < e.rows; ++i)
        for (int64_t j = 0; j < e.cols; ++j) {
          const auto tanh = static_cast<float>(out[i][j]);
          to[i][j] = T(static_cast<float>(up[i][j]) * (1 - tanh * tanh));
        }
    });
  });
}

void scatter_rows(const Tensor& values, const Tensor& rows, int64_t first_row, bool accumulate, const Tensor& table) {
  const int64_t cols = values.dim(1);
  with_compute_type(values.dtype(), [&]<typename T>(T) {
    const auto from = block_of<const T>(values);
    const auto to = block_of<T>(table);
    parallel_for(rows.numel(), row_grain(cols), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = rows.data<int32_t>()[i] - first_row;
        if (row < 0 || row >= table.dim(0)) continue;
        const T* x = from[i];
        T* y = to[row];
        if (!accumulate) std::copy_n(x, cols, y);
        for (int64_t j = 0; accumulate && j < cols; ++j) y[j] = T(static_cast<float>(y[j]) + static_cast<float>(x[j]));
      }
    });
  });
}

}  // namespace triax::cpu
