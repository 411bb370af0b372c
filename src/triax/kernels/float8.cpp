#include "triax/kernels/float8.h"

#include <algorithm>

#include "triax/base/error.h"
#include "triax/kernels/checks.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/dispatch.h"

namespace triax {

void quantize(const Context& context, const Tensor& x, Float8 format, bool transpose, const Tensor& codes, const Tensor& factor) {
  constexpr auto op = "quantize";
  require_compute_type({op, "x", x});
  require_rows({op, "x", x});
  require(context, {op, "x", x}, x.shape(), x.dtype());
  check(x.numel() > 0, "{}: x is empty", op);
  const int64_t rows = x.dim(transpose ? 1 : 0), cols = x.dim(transpose ? 0 : 1);
  require(context, {op, "codes", codes}, {rows, float8_columns(cols)}, DType::u8);
  require_contiguous({op, "codes", codes});
  require(context, {op, "factor", factor}, {1}, DType::f32);
  dispatch(context, op, cpu::quantize, &DeviceOperations::quantize, x, format, transpose, codes, factor);
}

size_t float8_bytes(int64_t n, int64_t in, int64_t out) {
  const auto product = [](int64_t rows, int64_t cols, int64_t sums) {
    return DeviceQueue::Float8Memory::kFactors + static_cast<size_t>((rows + cols) * float8_columns(sums)) + DeviceQueue::Float8Memory::kAlignment;
  };
  return std::max({product(n, out, in), product(n, in, out), product(out, in, n)});
}

}  // namespace triax
