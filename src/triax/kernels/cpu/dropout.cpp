#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/dropout.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "triax/kernels/cpu/dropout-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

void factors(const DropoutMask& mask, int64_t row, int64_t col, int64_t count, float* out) {
  dropout_row(mask, row, col, count, out);
}

void factors_transposed(const DropoutMask& mask, int64_t first_row, int64_t row_step, int64_t rows,
                        int64_t block, float* out, int64_t ld) {
  dropout_block_transposed(mask, first_row, row_step, rows, block, out, ld);
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(factors);
HWY_EXPORT(factors_transposed);

void dropout_factors(const DropoutMask& mask, int64_t row, int64_t col, int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(factors)(mask, row, col, count, out);
}

void dropout_factors_transposed(const DropoutMask& mask, int64_t first_row, int64_t row_step,
                                int64_t rows, int64_t block, float* out, int64_t ld) {
  HWY_DYNAMIC_DISPATCH(factors_transposed)(mask, first_row, row_step, rows, block, out, ld);
}

}  // namespace triax::cpu
#endif
