#include <cmath>

#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/partial_sums.h"
#include "triax/kernels/cpu/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/layernorm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "triax/kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

// A row is read from memory once and again from the first-level cache: twice for its statistics,
// the second time around the mean so that a large mean costs no precision, and once for the result.
template <typename T>
HWY_INLINE void normalise_rows(int64_t rows, int64_t cols, Block<const T> x, const float* gamma,
                               const float* beta, float epsilon, Block<T> y, float* means,
                               float* rstds) {
  const Floats d;
  const auto count = static_cast<float>(cols);
  for (int64_t i = 0; i < rows; ++i) {
    const T* in = x[i];
    T* out = y[i];
    const int64_t whole = cols - cols % (4 * kLanes);
    FloatVector s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (int64_t j = 0; j < whole; j += 4 * kLanes) {
      s0 = hn::Add(s0, load_floats(in + j));
      s1 = hn::Add(s1, load_floats(in + j + kLanes));
      s2 = hn::Add(s2, load_floats(in + j + 2 * kLanes));
      s3 = hn::Add(s3, load_floats(in + j + 3 * kLanes));
    }
    for_lanes(cols - whole, [&](int64_t j, auto lanes)
                                HWY_ATTR { s0 = hn::Add(s0, load(in + whole + j, lanes)); });
    const float mean = sum_of_lanes(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))) / count;
    const auto centre = hn::Set(d, mean);
    s0 = s1 = s2 = s3 = hn::Zero(d);
    const auto add_square = [centre](FloatVector sum, FloatVector value) HWY_ATTR {
      const auto off = hn::Sub(value, centre);
      return hn::MulAdd(off, off, sum);
    };
    for (int64_t j = 0; j < whole; j += 4 * kLanes) {
      s0 = add_square(s0, load_floats(in + j));
      s1 = add_square(s1, load_floats(in + j + kLanes));
      s2 = add_square(s2, load_floats(in + j + 2 * kLanes));
      s3 = add_square(s3, load_floats(in + j + 3 * kLanes));
    }
    for_lanes(cols - whole, [&](int64_t j, auto lanes) HWY_ATTR {
      const auto off = only(hn::Sub(load(in + whole + j, lanes), centre), lanes);
      s0 = hn::MulAdd(off, off, s0);
    });
    const float variance = sum_of_lanes(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))) / count;
    const float rstd = 1.0f / std::sqrt(variance + epsilon);
    const auto factor = hn::Set(d, rstd);
    for_lanes(cols, [&](int64_t j, auto lanes) HWY_ATTR {
      const auto normal = hn::Mul(hn::Sub(load(in + j, lanes), centre), factor);
      store(hn::MulAdd(normal, load(gamma + j, lanes), load(beta + j, lanes)), out + j, lanes);
    });
    if (means) means[i] = mean, rstds[i] = rstd;
  }
}

// With xhat = (x - mean) rstd and g = dy gamma:  dx = rstd (g - mean(g) - xhat mean(g xhat)).
// sums [2, cols]: those of dgamma, then those of dbeta.
template <typename T>
HWY_INLINE void gradient_rows(int64_t rows, int64_t cols, Block<const T> dy, Block<const T> x,
                              const float* gamma, const float* means, const float* rstds,
                              bool accumulate, Block<T> dx, float* sums) {
  const Floats d;
  float *dgamma = sums, *dbeta = sums + cols;
  for (int64_t i = 0; i < rows; ++i) {
    const T *up = dy[i], *in = x[i];
    T* out = dx[i];
    const auto mean = hn::Set(d, means[i]), rstd = hn::Set(d, rstds[i]);
    // g = 0 in lanes past the end, so that those of xhat do not matter.
    FloatVector s0 = hn::Zero(d), s1 = s0, p0 = s0, p1 = s0;
    const int64_t whole = cols - cols % (2 * kLanes);
    for (int64_t j = 0; j < whole; j += 2 * kLanes) {
      const auto g0 = hn::Mul(load_floats(up + j), load_floats(gamma + j));
      const auto g1 = hn::Mul(load_floats(up + j + kLanes), load_floats(gamma + j + kLanes));
      s0 = hn::Add(s0, g0), s1 = hn::Add(s1, g1);
      p0 = hn::MulAdd(g0, hn::Sub(load_floats(in + j), mean), p0);
      p1 = hn::MulAdd(g1, hn::Sub(load_floats(in + j + kLanes), mean), p1);
    }
    for_lanes(cols - whole, [&](int64_t at, auto lanes) HWY_ATTR {
      const int64_t j = whole + at;
      const auto g = hn::Mul(load(up + j, lanes), load(gamma + j, lanes));
      s0 = hn::Add(s0, g);
      p0 = hn::MulAdd(g, hn::Sub(load(in + j, lanes), mean), p0);
    });
    const auto count = static_cast<float>(cols);
    const auto sum = hn::Set(d, sum_of_lanes(hn::Add(s0, s1)) / count);
    const auto dot = hn::Set(d, sum_of_lanes(hn::Add(p0, p1)) * rstds[i] / count);
    for_lanes(cols, [&](int64_t j, auto lanes) HWY_ATTR {
      const auto above = load(up + j, lanes);
      const auto normal = hn::Mul(hn::Sub(load(in + j, lanes), mean), rstd);
      store(hn::MulAdd(above, normal, load(dgamma + j, lanes)), dgamma + j, lanes);
      store(hn::Add(above, load(dbeta + j, lanes)), dbeta + j, lanes);
      const auto centred = hn::MulSub(above, load(gamma + j, lanes), sum);
      FloatVector value = hn::Mul(rstd, hn::NegMulAdd(normal, dot, centred));
      if (accumulate) value = hn::Add(value, load(out + j, lanes));
      store(value, out + j, lanes);
    });
  }
}

void normalise_f32(int64_t rows, int64_t cols, Block<const float> x, const float* gamma,
                   const float* beta, float epsilon, Block<float> y, float* means, float* rstds) {
  normalise_rows(rows, cols, x, gamma, beta, epsilon, y, means, rstds);
}
void normalise_bf16(int64_t rows, int64_t cols, Block<const bf16> x, const float* gamma,
                    const float* beta, float epsilon, Block<bf16> y, float* means, float* rstds) {
  normalise_rows(rows, cols, x, gamma, beta, epsilon, y, means, rstds);
}
void normalise_f16(int64_t rows, int64_t cols, Block<const f16> x, const float* gamma,
                    const float* beta, float epsilon, Block<f16> y, float* means, float* rstds) {
  normalise_rows(rows, cols, x, gamma, beta, epsilon, y, means, rstds);
}
void gradient_f32(int64_t rows, int64_t cols, Block<const float> dy, Block<const float> x,
                  const float* gamma, const float* means, const float* rstds, bool accumulate,
                  Block<float> dx, float* sums) {
  gradient_rows(rows, cols, dy, x, gamma, means, rstds, accumulate, dx, sums);
}
void gradient_bf16(int64_t rows, int64_t cols, Block<const bf16> dy, Block<const bf16> x,
                   const float* gamma, const float* means, const float* rstds, bool accumulate,
                   Block<bf16> dx, float* sums) {
  gradient_rows(rows, cols, dy, x, gamma, means, rstds, accumulate, dx, sums);
}
void gradient_f16(int64_t rows, int64_t cols, Block<const f16> dy, Block<const f16> x,
                   const float* gamma, const float* means, const float* rstds, bool accumulate,
                   Block<f16> dx, float* sums) {
  gradient_rows(rows, cols, dy, x, gamma, means, rstds, accumulate, dx, sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(normalise_f32);
HWY_EXPORT(normalise_bf16);
HWY_EXPORT(normalise_f16);
HWY_EXPORT(gradient_f32);
HWY_EXPORT(gradient_bf16);
HWY_EXPORT(gradient_f16);

void layernorm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, float epsilon,
                       const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  const int64_t cols = x.dim(1);
  parallel_for(x.dim(0), row_grain(cols), [&](int64_t begin, int64_t end) {
    const Extent e{begin, 0, end - begin, cols};
    const auto run = [&]<typename T>(T, auto* kernel) {
      kernel(e.rows, cols, block_of<const T>(x, e), gamma.data<float>(), beta.data<float>(),
             epsilon, block_of<T>(y, e), mean.defined() ? mean.data<float>() + begin : nullptr,
             rstd.defined() ? rstd.data<float>() + begin : nullptr);
    };
    if (x.dtype() == DType::f32) return run(float{}, &HWY_DYNAMIC_DISPATCH(normalise_f32));
    if (x.dtype() == DType::bf16) return run(bf16{}, &HWY_DYNAMIC_DISPATCH(normalise_bf16));
    run(f16{}, &HWY_DYNAMIC_DISPATCH(normalise_f16));
  });
}

void layernorm_backward(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                        const Tensor& rstd, const Tensor& dx, bool accumulate, const Tensor& dgamma,
                        const Tensor& dbeta) {
  const int64_t cols = x.dim(1);
  sum_over_rows(x.dim(0), cols, {dgamma.data<float>(), dbeta.data<float>()},
                [&](int64_t begin, int64_t end, float* sums) {
                  const Extent e{begin, 0, end - begin, cols};
                  const auto run = [&]<typename T>(T, auto* kernel) {
                    kernel(e.rows, cols, block_of<const T>(dy, e), block_of<const T>(x, e),
                           gamma.data<float>(), mean.data<float>() + begin,
                           rstd.data<float>() + begin, accumulate, block_of<T>(dx, e), sums);
                  };
                  if (x.dtype() == DType::f32)
                    return run(float{}, &HWY_DYNAMIC_DISPATCH(gradient_f32));
                  if (x.dtype() == DType::bf16) return run(bf16{}, &HWY_DYNAMIC_DISPATCH(gradient_bf16));
                  run(f16{}, &HWY_DYNAMIC_DISPATCH(gradient_f16));
                });
}

}  // namespace triax::cpu
#endif
