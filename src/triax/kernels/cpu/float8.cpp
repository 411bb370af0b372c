#include "triax/kernels/float8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/rows.h"

namespace triax::cpu {
namespace {

struct Float8Form {
  int mantissa, bias;
  float largest;
};
constexpr Float8Form kE4m3{3, 7, 448}, kE5m2{2, 15, 57344};

uint8_t code_of(float x, const Float8Form& form) {
  if (std::isnan(x)) return 0x7F;
  const float magnitude = std::min(std::abs(x), form.largest);
  const int exponent = std::max(magnitude > 0 ? std::ilogb(magnitude) : 0, 1 - form.bias);
  // In units of the last bit; the sum carries into the exponent by itself.
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, form.mantissa - exponent)));
  const int code = units + ((exponent + form.bias - 1) << form.mantissa);
  return static_cast<uint8_t>((std::signbit(x) ? 0x80 : 0) | (magnitude > 0 ? code : 0));
}

float finite_or_nan(float x) { return std::isfinite(x) ? x : std::numeric_limits<float>::quiet_NaN(); }

int exponent_of_scale(float largest, const Float8Form& form) {
  if (largest == 0) return 0;
  int exponent = std::ilogb(form.largest) - std::ilogb(largest);
  if (std::ldexp(largest, exponent) > form.largest) --exponent;
  return std::clamp(exponent, -126, 126);
}

}  // namespace

// Nothing on a CPU multiplies FP8: this is what the kernels of GPUs are compared with, beside the reference.
void quantize(const Tensor& x, Float8 format, bool transpose, const Tensor& codes, const Tensor& factor) {
  const Float8Form& form = format == Float8::e4m3 ? kE4m3 : kE5m2;
  const int64_t rows = x.dim(0), cols = x.dim(1), stride = codes.dim(1);
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto at = [&](int64_t row, int64_t col) { return finite_or_nan(static_cast<float>(x.data<T>()[row * x.stride(0) + col])); };
    float largest = 0;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t col = 0; col < cols; ++col) largest = std::fmax(largest, std::abs(at(row, col)));
    const int exponent = exponent_of_scale(largest, form);
    factor.data<float>()[0] = std::ldexp(1.0f, -exponent);
    auto* to = static_cast<uint8_t*>(codes.raw());
    std::memset(to, 0, codes.bytes());
    parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        for (int64_t col = 0; col < cols; ++col)
          to[transpose ? col * stride + row : row * stride + col] = code_of(std::ldexp(at(row, col), exponent), form);
    });
  });
}

}  // namespace triax::cpu
