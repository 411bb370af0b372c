// The operations in plain double precision, one loop each: what the kernels are compared with. Each
// backward here is itself checked against finite differences of its forward.
#pragma once

#include <cmath>

#include "triax/kernel_cases/harness.h"
#include "triax/kernels/float8.h"
#include "triax/kernels/linear.h"

namespace triax::reference {

using harness::Vector;

inline size_t index(int64_t i) {
  return static_cast<size_t>(i);
}

// c [m, n] += a [m, k] b [k, n], either operand given transposed.
inline void add_product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                        const Vector& a, const Vector& b, Vector& c) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p) {
      const double left = a[index(transpose_a ? p * m + i : i * k + p)];
      for (int64_t j = 0; j < n; ++j)
        c[index(i * n + j)] += left * b[index(transpose_b ? j * k + p : p * n + j)];
    }
}

inline double activation(Activation kind, double x) {
  if (kind == Activation::gelu_erf) return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

inline double activation_slope(Activation kind, double x) {
  if (kind == Activation::gelu_erf)
    return 0.5 * (1 + std::erf(x / std::sqrt(2.0))) +
           x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
  const double scale = std::sqrt(2 / M_PI);
  const double t = std::tanh(scale * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * scale * (1 + 3 * 0.044715 * x * x);
}

// What an element of dropout(x) is of x.
inline double dropout_factor(const Dropout& dropout, int64_t row, int64_t col, int64_t cols) {
  if (!dropout.active()) return 1;
  const int64_t total = dropout.total_cols > 0 ? dropout.total_cols : cols;
  return dropout_keep(dropout, row + dropout.row_offset, col + dropout.col_offset, total)
             ? static_cast<double>(dropout.scale())
             : 0.0;
}

// The number of a code: sign, exponent, mantissa.
inline double float8_value(int code, Float8 format) {
  const int bits = format == Float8::e4m3 ? 3 : 2, bias = format == Float8::e4m3 ? 7 : 15;
  const int mantissa = code & ((1 << bits) - 1), exponent = (code & 0x7F) >> bits;
  const double sign = (code & 0x80) ? -1 : 1;
  if (format == Float8::e4m3 && (code & 0x7F) == 0x7F) return NAN;
  if (format == Float8::e5m2 && exponent == 31) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - bits);
  return sign * std::ldexp(mantissa + (1 << bits), exponent - bias - bits);
}

// The code of the nearest finite number, of two the even one.
inline int float8_code(double x, Float8 format) {
  if (!std::isfinite(x)) return 0x7F;
  int above = 1;  // codes without sign are in the order of their numbers
  const int largest = format == Float8::e4m3 ? 0x7E : 0x7B;
  while (above < largest && float8_value(above, format) < std::abs(x)) ++above;
  const double up = float8_value(above, format) - std::abs(x), down = std::abs(x) - float8_value(above - 1, format);
  const int code = up < down || (up == down && above % 2 == 0) ? above : above - 1;
  return code | (std::signbit(x) ? 0x80 : 0);
}

// The largest power of two that no finite element exceeds the format's largest number with, within what a float can hold.
inline double float8_scale(const Vector& x, Float8 format) {
  double largest = 0;
  for (const double value : x)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  if (largest == 0) return 1;
  int exponent = 126;
  while (std::ldexp(largest, exponent) > (format == Float8::e4m3 ? 448 : 57344)) --exponent;
  return std::ldexp(1.0, exponent);
}

inline Vector float8_rounded(Vector x, Float8 format) {
  const double scale = float8_scale(x, format);
  for (double& value : x) value = float8_value(float8_code(value * scale, format), format) / scale;
  return x;
}

struct LayerNorm {
  Vector y, mean, rstd;
};

inline LayerNorm layernorm(int64_t n, int64_t h, const Vector& x, const Vector& gamma,
                           const Vector& beta, double epsilon) {
  LayerNorm out{Vector(x.size()), Vector(index(n)), Vector(index(n))};
  for (int64_t i = 0; i < n; ++i) {
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < h; ++j) mean += x[index(i * h + j)] / static_cast<double>(h);
    for (int64_t j = 0; j < h; ++j)
      variance += std::pow(x[index(i * h + j)] - mean, 2) / static_cast<double>(h);
    const double rstd = 1 / std::sqrt(variance + epsilon);
    for (int64_t j = 0; j < h; ++j)
      out.y[index(i * h + j)] =
          (x[index(i * h + j)] - mean) * rstd * gamma[index(j)] + beta[index(j)];
    out.mean[index(i)] = mean, out.rstd[index(i)] = rstd;
  }
  return out;
}

struct LayerNormGradient {
  Vector dx, dgamma, dbeta;
};

inline LayerNormGradient layernorm_backward(int64_t n, int64_t h, const Vector& dy, const Vector& x,
                                            const Vector& gamma, const Vector& mean,
                                            const Vector& rstd) {
  LayerNormGradient out{Vector(x.size()), Vector(index(h)), Vector(index(h))};
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0, dot = 0;  // means of dy gamma, and of dy gamma times the normalised x
    const auto normal = [&](int64_t j) {
      return (x[index(i * h + j)] - mean[index(i)]) * rstd[index(i)];
    };
    for (int64_t j = 0; j < h; ++j) {
      const double d = dy[index(i * h + j)];
      out.dgamma[index(j)] += d * normal(j), out.dbeta[index(j)] += d;
      sum += d * gamma[index(j)] / static_cast<double>(h);
      dot += d * gamma[index(j)] * normal(j) / static_cast<double>(h);
    }
    for (int64_t j = 0; j < h; ++j)
      out.dx[index(i * h + j)] =
          rstd[index(i)] * (dy[index(i * h + j)] * gamma[index(j)] - sum - normal(j) * dot);
  }
  return out;
}

}  // namespace triax::reference
