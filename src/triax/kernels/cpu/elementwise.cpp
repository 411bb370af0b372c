#include <cmath>
#include <vector>

#include "triax/base/parallel.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/rows.h"

namespace triax::cpu {
namespace {

struct Extent {
  int64_t n, h;
};

// As few and long rows as the tensors' strides allow.
Extent extent_of(std::initializer_list<const Tensor*> tensors) {
  bool contiguous = true;
  const Tensor& first = **tensors.begin();
  for (const Tensor* t : tensors) contiguous = contiguous && (!t->defined() || t->is_contiguous());
  if (contiguous && first.rank() != 2) return {1, first.numel()};
  return {first.dim(0), first.dim(1)};
}

template <typename Body>
void for_each_element(Extent extent, const Body& body) {
  if (extent.n == 1) {
    parallel_for(extent.h, 1 << 16, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) body(0, j);
    });
    return;
  }
  parallel_for(extent.n, row_grain(extent.h), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < extent.h; ++j) body(i, j);
  });
}

constexpr float kTanhScale = 0.7978845608028654f, kTanhCubic = 0.044715f;

float activate(Activation activation, float x) {
  if (activation == Activation::gelu_erf) return 0.5f * x * (1 + std::erf(x * 0.70710678f));
  return 0.5f * x * (1 + std::tanh(kTanhScale * (x + kTanhCubic * x * x * x)));
}

float activation_slope(Activation activation, float x) {
  if (activation == Activation::gelu_erf)
    return 0.5f * (1 + std::erf(x * 0.70710678f)) + x * 0.3989422804f * std::exp(-0.5f * x * x);
  const float t = std::tanh(kTanhScale * (x + kTanhCubic * x * x * x));
  return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * kTanhScale * (1 + 3 * kTanhCubic * x * x);
}

float dropout_factor(const Dropout& dropout, int64_t row, int64_t col, int64_t cols) {
  if (!dropout.active()) return 1;
  const int64_t total = dropout.total_cols ? dropout.total_cols : cols;
  const bool keep =
      dropout_keep(dropout, row + dropout.row_offset, col + dropout.col_offset, total);
  return keep ? dropout.scale() : 0;
}

}  // namespace

void bias_activation_forward(Activation activation, const Tensor& x, const Tensor& bias,
                             const Tensor& pre, const Tensor& y) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto in = rows_of<T>(x), p = rows_of<T>(pre), out = rows_of<T>(y);
    const float* b = bias.defined() ? bias.data<float>() : nullptr;
    for_each_element(extent_of({&x, &pre, &y}), [&](int64_t i, int64_t j) {
      const T value(static_cast<float>(in[i][j]) + (b ? b[j] : 0));
      if (p.data) p[i][j] = value;
      out[i][j] = T(activate(activation, static_cast<float>(value)));
    });
  });
}

void activation_forward(Activation activation, const Tensor& x, const Tensor& y) {
  bias_activation_forward(activation, x, {}, {}, y);
}

void activation_backward(Activation activation, const Tensor& x, const Tensor& dy,
                         const Tensor& dx) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto in = rows_of<T>(x), d = rows_of<T>(dy), out = rows_of<T>(dx);
    for_each_element(extent_of({&x, &dy, &dx}), [&](int64_t i, int64_t j) {
      out[i][j] = T(static_cast<float>(d[i][j]) *
                    activation_slope(activation, static_cast<float>(in[i][j])));
    });
  });
}

void bias_dropout_residual_forward(const Tensor& x, const Tensor& bias, const Tensor& residual,
                                   const Dropout& dropout, const Tensor& out) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto in = rows_of<T>(x), res = rows_of<T>(residual), o = rows_of<T>(out);
    const float* b = bias.defined() ? bias.data<float>() : nullptr;
    for_each_element({x.dim(0), x.dim(1)}, [&](int64_t i, int64_t j) {
      const float value = static_cast<float>(in[i][j]) + (b ? b[j] : 0);
      o[i][j] = T((res.data ? static_cast<float>(res[i][j]) : 0) +
                  value * dropout_factor(dropout, i, j, x.dim(1)));
    });
  });
}

void bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                    const Tensor& dbias) {
  const Tensor& result = dx.defined() ? dx : dout;
  if (dx.defined())
    with_compute_type(dout.dtype(), [&]<typename T>(T) {
      const auto d = rows_of<T>(dout), o = rows_of<T>(dx);
      for_each_element({dout.dim(0), dout.dim(1)}, [&](int64_t i, int64_t j) {
        o[i][j] = T(static_cast<float>(d[i][j]) * dropout_factor(dropout, i, j, dout.dim(1)));
      });
    });
  if (dbias.defined()) add_column_sums(result, dbias);
}

void convert(const Tensor& src, const Tensor& dst) {
  const auto run = [&]<typename S, typename D>(S, D) {
    const auto in = rows_of<S>(src);
    const auto out = rows_of<D>(dst);
    for_each_element(extent_of({&src, &dst}),
                     [&](int64_t i, int64_t j) { out[i][j] = D(static_cast<float>(in[i][j])); });
  };
  const auto from = [&]<typename S>(S s) {
    if (dst.dtype() == DType::f32) return run(s, float{});
    if (dst.dtype() == DType::bf16) return run(s, bf16{});
    run(s, f16{});
  };
  if (src.dtype() == DType::f32) return from(float{});
  if (src.dtype() == DType::bf16) return from(bf16{});
  from(f16{});
}

void fill(const Tensor& x, float value) {
  const auto run = [&]<typename T>(T) {
    const auto out = rows_of<T>(x);
    for_each_element(extent_of({&x}), [&](int64_t i, int64_t j) { out[i][j] = T(value); });
  };
  if (x.dtype() == DType::f16) return run(f16{});
  with_compute_type(x.dtype(), run);
}

void add_scaled(float alpha, const Tensor& x, const Tensor& y) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto in = rows_of<T>(x), out = rows_of<T>(y);
    for_each_element(extent_of({&x, &y}), [&](int64_t i, int64_t j) {
      out[i][j] = T(static_cast<float>(out[i][j]) + alpha * static_cast<float>(in[i][j]));
    });
  });
}

void scale(float alpha, const Tensor& x) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto out = rows_of<T>(x);
    for_each_element(extent_of({&x}), [&](int64_t i, int64_t j) {
      out[i][j] = T(alpha * static_cast<float>(out[i][j]));
    });
  });
}

double sum_of_squares(const Tensor& x) {
  return with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto in = rows_of<T>(x);
    const int64_t rows = x.is_contiguous() ? 1 : x.dim(0);
    const int64_t cols = x.is_contiguous() ? x.numel() : x.dim(1);
    constexpr int64_t kGrain = 1 << 16;
    const int64_t pieces = (cols + kGrain - 1) / kGrain;
    std::vector<double> partial(static_cast<size_t>(rows * pieces));
    parallel_pieces(rows * pieces, [&](int64_t p) {
      const int64_t begin = p % pieces * kGrain, end = std::min(cols, begin + kGrain);
      double sum = 0;
      for (int64_t j = begin; j < end; ++j) {
        const double value = static_cast<float>(in[p / pieces][j]);
        sum += value * value;
      }
      partial[static_cast<size_t>(p)] = sum;
    });
    double total = 0;
    for (const double sum : partial) total += sum;
    return total;
  });
}

void add_column_sums(const Tensor& x, const Tensor& sums) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    const auto in = rows_of<T>(x);
    float* out = sums.data<float>();
    parallel_for(x.dim(1), 64, [&](int64_t begin, int64_t end) {
      float column[64] = {};
      for (int64_t i = 0; i < x.dim(0); ++i)
        for (int64_t j = begin; j < end; ++j) column[j - begin] += static_cast<float>(in[i][j]);
      for (int64_t j = begin; j < end; ++j) out[j] += column[j - begin];
    });
  });
}

}  // namespace triax::cpu
