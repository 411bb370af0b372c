#include "triax/base/parallel.h"
#include "triax/kernels/cpu/ops.h"
#include "triax/kernels/cpu/row_kernels.h"
#include "triax/kernels/cpu/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "triax/kernels/cpu/activation.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "triax/kernels/cpu/activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace triax::cpu {
namespace HWY_NAMESPACE {

HWY_INLINE FloatVector as_stored(FloatVector x, float) {
  return x;
}
template <typename T>
HWY_INLINE FloatVector as_stored(FloatVector x, T) {
  alignas(64) T rounded[kLanes];
  store_floats(x, rounded);
  return load_floats(rounded);
}

template <class Kind, typename In, typename Out>
HWY_INLINE void forward_rows(int64_t rows, int64_t cols, Block<const In> x, const float* bias,
                             Block<Out> pre, Block<Out> y) {
  for (int64_t i = 0; i < rows; ++i)
    for_lanes(cols, [&](int64_t j, auto lanes) HWY_ATTR {
      FloatVector value = load(x[i] + j, lanes);
      if (bias) value = hn::Add(value, load(bias + j, lanes));
      if (pre.data) {
        value = as_stored(value, Out{});
        store(value, pre[i] + j, lanes);
      }
      store(Kind::value(value), y[i] + j, lanes);
    });
}

template <class Kind, typename In, typename Gradient, typename Out>
HWY_INLINE void backward_rows(int64_t rows, int64_t cols, Block<const In> x,
                              Block<const Gradient> dy, Block<Out> dx) {
  for (int64_t i = 0; i < rows; ++i)
    for_lanes(cols, [&](int64_t j, auto lanes) HWY_ATTR {
      const auto slope = Kind::slope(load(x[i] + j, lanes));
      store(hn::Mul(load(dy[i] + j, lanes), slope), dx[i] + j, lanes);
    });
}

template <typename In, typename Out>
HWY_INLINE void forward(Activation kind, int64_t rows, int64_t cols, Block<const In> x,
                        const float* bias, Block<Out> pre, Block<Out> y) {
  if (kind == Activation::gelu_tanh) {
    forward_rows<GeluTanh>(rows, cols, x, bias, pre, y);
  } else {
    forward_rows<GeluErf>(rows, cols, x, bias, pre, y);
  }
}

template <typename In, typename Gradient, typename Out>
HWY_INLINE void backward(Activation kind, int64_t rows, int64_t cols, Block<const In> x,
                         Block<const Gradient> dy, Block<Out> dx) {
  if (kind == Activation::gelu_tanh) {
    backward_rows<GeluTanh>(rows, cols, x, dy, dx);
  } else {
    backward_rows<GeluErf>(rows, cols, x, dy, dx);
  }
}

void forward_f32(Activation kind, int64_t rows, int64_t cols, Block<const float> x,
                 const float* bias, Block<float> pre, Block<float> y) {
  forward(kind, rows, cols, x, bias, pre, y);
}
void forward_to_bf16(Activation kind, int64_t rows, int64_t cols, Block<const float> x,
                   const float* bias, Block<bf16> pre, Block<bf16> y) {
  forward(kind, rows, cols, x, bias, pre, y);
}
void forward_to_f16(Activation kind, int64_t rows, int64_t cols, Block<const float> x,
                   const float* bias, Block<f16> pre, Block<f16> y) {
  forward(kind, rows, cols, x, bias, pre, y);
}
void forward_bf16(Activation kind, int64_t rows, int64_t cols, Block<const bf16> x,
                  const float* bias, Block<bf16> pre, Block<bf16> y) {
  forward(kind, rows, cols, x, bias, pre, y);
}
void forward_f16(Activation kind, int64_t rows, int64_t cols, Block<const f16> x,
                  const float* bias, Block<f16> pre, Block<f16> y) {
  forward(kind, rows, cols, x, bias, pre, y);
}
void backward_f32(Activation kind, int64_t rows, int64_t cols, Block<const float> x,
                  Block<const float> dy, Block<float> dx) {
  backward(kind, rows, cols, x, dy, dx);
}
void backward_to_bf16(Activation kind, int64_t rows, int64_t cols, Block<const bf16> x,
                    Block<const float> dy, Block<bf16> dx) {
  backward(kind, rows, cols, x, dy, dx);
}
void backward_to_f16(Activation kind, int64_t rows, int64_t cols, Block<const f16> x,
                    Block<const float> dy, Block<f16> dx) {
  backward(kind, rows, cols, x, dy, dx);
}
void backward_bf16(Activation kind, int64_t rows, int64_t cols, Block<const bf16> x,
                   Block<const bf16> dy, Block<bf16> dx) {
  backward(kind, rows, cols, x, dy, dx);
}
void backward_f16(Activation kind, int64_t rows, int64_t cols, Block<const f16> x,
                   Block<const f16> dy, Block<f16> dx) {
  backward(kind, rows, cols, x, dy, dx);
}

}  // namespace HWY_NAMESPACE
}  // namespace triax::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triax::cpu {

HWY_EXPORT(forward_f32);
HWY_EXPORT(forward_to_bf16);
HWY_EXPORT(forward_to_f16);
HWY_EXPORT(forward_bf16);
HWY_EXPORT(forward_f16);
HWY_EXPORT(backward_f32);
HWY_EXPORT(backward_to_bf16);
HWY_EXPORT(backward_to_f16);
HWY_EXPORT(backward_bf16);
HWY_EXPORT(backward_f16);

void activate(Activation kind, int64_t rows, int64_t cols, Block<const float> x, const float* bias,
              Block<float> pre, Block<float> y) {
  HWY_DYNAMIC_DISPATCH(forward_f32)(kind, rows, cols, x, bias, pre, y);
}
void activate(Activation kind, int64_t rows, int64_t cols, Block<const float> x, const float* bias,
              Block<bf16> pre, Block<bf16> y) {
  HWY_DYNAMIC_DISPATCH(forward_to_bf16)(kind, rows, cols, x, bias, pre, y);
}
void activate(Activation kind, int64_t rows, int64_t cols, Block<const float> x, const float* bias,
              Block<f16> pre, Block<f16> y) {
  HWY_DYNAMIC_DISPATCH(forward_to_f16)(kind, rows, cols, x, bias, pre, y);
}
void activate(Activation kind, int64_t rows, int64_t cols, Block<const bf16> x, const float* bias,
              Block<bf16> pre, Block<bf16> y) {
  HWY_DYNAMIC_DISPATCH(forward_bf16)(kind, rows, cols, x, bias, pre, y);
}
void activate(Activation kind, int64_t rows, int64_t cols, Block<const f16> x, const float* bias,
              Block<f16> pre, Block<f16> y) {
  HWY_DYNAMIC_DISPATCH(forward_f16)(kind, rows, cols, x, bias, pre, y);
}
void activate_backward(Activation kind, int64_t rows, int64_t cols, Block<const float> x,
                       Block<const float> dy, Block<float> dx) {
  HWY_DYNAMIC_DISPATCH(backward_f32)(kind, rows, cols, x, dy, dx);
}
void activate_backward(Activation kind, int64_t rows, int64_t cols, Block<const bf16> x,
                       Block<const float> dy, Block<bf16> dx) {
  HWY_DYNAMIC_DISPATCH(backward_to_bf16)(kind, rows, cols, x, dy, dx);
}
void activate_backward(Activation kind, int64_t rows, int64_t cols, Block<const f16> x,
                       Block<const float> dy, Block<f16> dx) {
  HWY_DYNAMIC_DISPATCH(backward_to_f16)(kind, rows, cols, x, dy, dx);
}
void activate_backward(Activation kind, int64_t rows, int64_t cols, Block<const bf16> x,
                       Block<const bf16> dy, Block<bf16> dx) {
  HWY_DYNAMIC_DISPATCH(backward_bf16)(kind, rows, cols, x, dy, dx);
}
void activate_backward(Activation kind, int64_t rows, int64_t cols, Block<const f16> x,
                       Block<const f16> dy, Block<f16> dx) {
  HWY_DYNAMIC_DISPATCH(backward_f16)(kind, rows, cols, x, dy, dx);
}

void activation_forward(Activation activation, const Tensor& x, const Tensor& y) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    for_blocks({&x, &y}, [&](const Extent& e) {
      activate(activation, e.rows, e.cols, block_of<const T>(x, e), nullptr, Block<T>(),
               block_of<T>(y, e));
    });
  });
}

void activation_backward(Activation activation, const Tensor& x, const Tensor& dy,
                         const Tensor& dx) {
  with_compute_type(x.dtype(), [&]<typename T>(T) {
    for_blocks({&x, &dy, &dx}, [&](const Extent& e) {
      activate_backward(activation, e.rows, e.cols, block_of<const T>(x, e),
                        block_of<const T>(dy, e), block_of<T>(dx, e));
    });
  });
}

}  // namespace triax::cpu
#endif
