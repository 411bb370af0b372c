// Dropout masks as factors (0 or the scale of what is kept), the same bits as dropout_keep() of
// base/rng.h. Kernels written with Highway include dropout-inl.h and have them inlined.
#pragma once

#include "triax/base/rng.h"

namespace triax::cpu {

// What a mask is drawn from, worked out once per call of a kernel. Rows and columns are global: the
// caller adds dropout.row_offset and dropout.col_offset.
struct DropoutMask {
  uint32_t key0, key1, site, step;
  int32_t threshold;
  float scale;
  uint64_t blocks_per_row;

  DropoutMask(const Dropout& dropout, int64_t total_cols)
      : key0(static_cast<uint32_t>(dropout.seed)),
        key1(static_cast<uint32_t>(dropout.seed >> 32)),
        site(dropout.site),
        step(dropout.step),
        threshold(static_cast<int32_t>(dropout.threshold())),
        scale(dropout.scale()),
        blocks_per_row(static_cast<uint64_t>(total_cols + 127) / 128) {}
};

// out[j] = scale where column col + j of `row` is kept, else 0, for j in [0, count).
void dropout_factors(const DropoutMask& mask, int64_t row, int64_t col, int64_t count, float* out);

// out[c * ld + r] = factor of column 128 * block + c and row first_row + r * row_step, for c < 128
// and r < rows; rows is a multiple of 16.
void dropout_factors_transposed(const DropoutMask& mask, int64_t first_row, int64_t row_step,
                                int64_t rows, int64_t block, float* out, int64_t ld);

}  // namespace triax::cpu
