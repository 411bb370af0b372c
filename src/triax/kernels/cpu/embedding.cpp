#include <cstring>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/rows.h"

namespace triax::cpu {
namespace {

void check_positions(const Tensor& positions, const Tensor& table) {
  const int32_t* ids = positions.data<int32_t>();
  for (int64_t i = 0; i < positions.numel(); ++i)
    check(ids[i] >= 0 && ids[i] < table.dim(0),
          "position {} of token {} is outside the table of {} positions", ids[i], i, table.dim(0));
}

}  // namespace

void embedding_forward(const Tensor& ids, const Tensor& table, int64_t vocab_start,
                       const Tensor& out) {
  const int64_t h = out.dim(1);
  with_compute_type(out.dtype(), [&]<typename T>(T) {
    const auto from = rows_of<T>(table), to = rows_of<T>(out);
    parallel_for(ids.numel(), row_grain(h), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = ids.data<int32_t>()[i] - vocab_start;
        const size_t bytes = static_cast<size_t>(h) * sizeof(T);
        if (row >= 0 && row < table.dim(0)) {
          std::memcpy(to[i], from[row], bytes);
        } else {
          std::memset(static_cast<void*>(to[i]), 0, bytes);
        }
      }
    });
  });
}

void embedding_backward(const Tensor& dout, const Tensor& ids, int64_t vocab_start,
                        const Tensor& dtable) {
  with_compute_type(dout.dtype(), [&]<typename T>(T) {
    const auto from = rows_of<T>(dout);
    const auto to = rows_of<float>(dtable);
    parallel_for(dout.dim(1), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < ids.numel(); ++i) {
        const int64_t row = ids.data<int32_t>()[i] - vocab_start;
        if (row < 0 || row >= dtable.dim(0)) continue;
        for (int64_t j = begin; j < end; ++j) to[row][j] += static_cast<float>(from[i][j]);
      }
    });
  });
}

void position_dropout_forward(const Tensor& positions, const Tensor& table, const Dropout& dropout,
                              const Tensor& x) {
  check_positions(positions, table);
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto from = rows_of<T>(table), to = rows_of<T>(x);
    parallel_for(x.dim(0), row_grain(x.dim(1)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t j = 0; j < x.dim(1); ++j)
          to[i][j] = T(static_cast<float>(to[i][j]) +
                       static_cast<float>(from[positions.data<int32_t>()[i]][j]));
    });
  });
  if (dropout.active()) cpu::bias_dropout_residual_forward(x, {}, {}, dropout, x);
}

void position_dropout_backward(const Tensor& positions, const Dropout& dropout, const Tensor& dx,
                               const Tensor& dtable) {
  check_positions(positions, dtable);
  if (dropout.active()) cpu::bias_dropout_residual_backward(dx, dropout, dx, {});
  cpu::embedding_backward(dx, positions, 0, dtable);
}

}  // namespace triax::cpu
